//! Polls a future again in place when it has woken itself.
//!
//! hyper wakes its own task during each request with a body. The runtime takes that for more work than one
//! thread can do, and wakes another thread, which takes over the connection: at a low rate, that doubles the
//! CPU time of a request.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// How many times a future is polled before other tasks have their turn.
const POLLS: usize = 4;

const IDLE: u8 = 0;
const POLLING: u8 = 1;
const RUNG: u8 = 2;

/// What one future is polled with.
#[derive(Default)]
pub(super) struct Repoll(Arc<Bell>);

/// Rung by whatever the future waits for.
#[derive(Default)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Repoll {
    pub(super) fn poll<F: Future>(
        &self,
        mut future: Pin<&mut F>,
        context: &Context<'_>,
    ) -> Poll<F::Output> {
        let Bell { state, task } = &*self.0;
        task.register(context.waker());
        let bell = Waker::from(self.0.clone());
        for _ in 0..POLLS {
            state.store(POLLING, Ordering::SeqCst);
            let polled = future.as_mut().poll(&mut Context::from_waker(&bell));
            let is_over = polled.is_ready()
                || state
                    .compare_exchange(POLLING, IDLE, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok();
            if is_over {
                return polled;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // When POLLING, `poll` looks at the state afterwards; when RUNG, that or a wake-up is due already.
        if self.state.swap(RUNG, Ordering::SeqCst) == IDLE {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, sync::atomic::AtomicUsize};

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls a future that wakes itself this many times; returns how often it was polled, how often the task
    /// was woken, and the waker that the future was polled with.
    fn poll(repoll: &Repoll, wakes: usize) -> (usize, usize, Waker) {
        let task = Arc::new(Task::default());
        let mut polls = 0;
        let mut kept = None;
        let mut future = pin!(poll_fn(|context| {
            polls += 1;
            if polls <= wakes {
                context.waker().wake_by_ref();
            }
            kept = Some(context.waker().clone());
            Poll::<()>::Pending
        }));
        let waker = task.clone().into();
        let polled = repoll.poll(future.as_mut(), &Context::from_waker(&waker));
        assert!(polled.is_pending());
        // The task is woken once, however often the future is.
        let woken = task.0.load(Ordering::Relaxed);
        if let Some(kept) = &kept {
            (0..3).for_each(|_| kept.wake_by_ref());
        }
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        (polls, woken, kept.unwrap())
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again_without_its_task() {
        let repoll = Repoll::default();
        for (wakes, polls, woken) in [(0, 1, 0), (1, 2, 0), (3, 4, 0), (4, 4, 1), (9, 4, 1)] {
            let (polled, was_woken, _) = poll(&repoll, wakes);
            assert_eq!((polled, was_woken), (polls, woken), "{wakes} wakes");
        }
    }
}
