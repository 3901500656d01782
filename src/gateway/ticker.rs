//! One clock for all connections: their pings and time limits.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::consume_budget,
    time::{Instant, sleep_until},
};

/// A tick may be late by this part of its delay, so that many connections share one.
const LATENESS: u64 = 256;
/// It is not rounded to more than this many milliseconds.
const COARSEST: u64 = 1_000;

/// A moment in milliseconds since the process started to let clients in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u64);

impl Tick {
    pub(super) const NEVER: Self = Self(u64::MAX);

    /// Milliseconds since another moment.
    pub(super) fn since(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

/// What has time limits.
pub(super) trait Timed: Send + Sync + 'static {
    /// Does what is due now.
    fn tick(&self, now: Tick);
}

/// Calls what is due.
pub(super) struct Ticker<T> {
    started: Instant,
    due: Mutex<BTreeMap<Tick, Vec<Weak<T>>>>,
    sooner: Notify,
}

impl<T: Timed> Ticker<T> {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            due: Mutex::default(),
            sooner: Notify::new(),
        }
    }

    pub(super) fn now(&self) -> Tick {
        Tick(self.started.elapsed().as_millis() as u64)
    }

    /// The moment after a delay, rounded up.
    pub(super) fn after(&self, delay: Duration) -> Tick {
        let at = self.started.elapsed().saturating_add(delay);
        let step = (delay.as_millis() as u64 / LATENESS).clamp(1, COARSEST);
        let step = step.next_power_of_two();
        Tick((at.as_micros().div_ceil(1_000) as u64).next_multiple_of(step))
    }

    /// Calls [`Timed::tick`] once, at that moment or as soon as possible.
    pub(super) fn schedule(&self, at: Tick, timed: Weak<T>) {
        let is_first = {
            let mut due = self.due();
            let is_first = due.first_key_value().is_none_or(|(first, _)| at < *first);
            due.entry(at).or_default().push(timed);
            is_first
        };
        if is_first {
            self.sooner.notify_one();
        }
    }

    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let next = self.due().first_key_value().map(|(tick, _)| *tick);
            let wait = async {
                match next {
                    Some(Tick(tick)) => {
                        sleep_until(self.started + Duration::from_millis(tick)).await
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = self.sooner.notified() => continue,
            }
            while let Some(timed) = self.take_due() {
                for timed in timed {
                    if let Some(timed) = timed.upgrade() {
                        timed.tick(self.now());
                    }
                    consume_budget().await;
                }
            }
        }
    }

    fn take_due(&self) -> Option<Vec<Weak<T>>> {
        let now = self.now();
        let mut due = self.due();
        let first = due.first_entry()?;
        (*first.key() <= now).then(|| first.remove())
    }

    fn due(&self) -> MutexGuard<'_, BTreeMap<Tick, Vec<Weak<T>>>> {
        // A map is whole between two of its operations.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Alarm(Mutex<Vec<Tick>>);

    impl Timed for Alarm {
        fn tick(&self, now: Tick) {
            self.0.lock().unwrap().push(now);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_woken_in_its_order_and_never_early() {
        let ticker = Arc::new(Ticker::<Alarm>::new());
        let task = tokio::spawn(ticker.clone().run());
        let alarm = Arc::new(Alarm::default());
        for delay in [400, 100, 0, 25_000] {
            let at = ticker.after(Duration::from_millis(delay));
            ticker.schedule(at, Arc::downgrade(&alarm));
            tokio::task::yield_now().await;
        }
        // One that nobody owns any more does no harm.
        ticker.schedule(ticker.now(), Weak::new());
        tokio::time::sleep(Duration::from_secs(26)).await;
        let woken = alarm.0.lock().unwrap().clone();
        assert_eq!(woken, [0, 100, 400, 25_088].map(Tick));
        task.abort();
    }
}
