//! How the process and its connections end: signals, drains, and the tasks that must not outlive it.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::wire::{DrainAnswer, Share};

/// Asks the gateway to close the oldest connections, so that their clients come back on other nodes.
/// Replaces what is left of the previous request.
#[derive(Debug)]
pub struct MoveRequest {
    pub share: Share,
    /// The time over which to close them.
    pub over: Duration,
    /// Dropped without an answer if the node is shutting down.
    pub answer: oneshot::Sender<DrainAnswer>,
}

/// Tracks the tasks of the process, and ends them in stages.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle(Arc<Stages>);

#[derive(Debug, Default)]
struct Stages {
    /// Set before `draining` is cancelled, and read without its lock.
    is_draining: AtomicBool,
    draining: CancellationToken,
    closing: CancellationToken,
    ended: CancellationToken,
    work: TaskTracker,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Runs a task that is dropped when the process ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stages = self.0.clone();
        self.0.tasks.spawn(async move {
            stages.ended.run_until_cancelled(task).await;
        });
    }

    /// Runs work that the shutdown waits for, within its time limit.
    pub fn spawn_awaited(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.work.spawn(work);
    }

    /// From now on, new clients are refused.
    pub fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Release);
        self.0.draining.cancel();
    }

    pub fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Acquire)
    }

    /// Awaits the future; returns `None` once the drain begins. Must be awaited in one task: it
    /// registers with the drain once and not at each poll, which would take a lock.
    pub async fn until_drained<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut drained = pin!(self.0.draining.cancelled());
        let mut is_registered = false;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let registers = !std::mem::replace(&mut is_registered, true);
            if self.is_draining() || registers && drained.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    /// From now on, no new work is accepted. Resolves when pending work is done; tasks keep running,
    /// since that work needs them.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.work.close();
        self.0.work.wait().await;
    }

    /// Resolves once no new work is accepted.
    pub async fn closed(&self) {
        self.0.closing.cancelled().await;
    }

    /// Ends all tasks.
    pub async fn end(&self) {
        self.0.ended.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// Listens for SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// # Errors
    /// The system refuses to install a handler.
    pub fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            terminate,
            interrupt,
        })
    }

    /// Waits for the next signal and names it. Cancellation-safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Listens for SIGHUP, which requests a reload.
///
/// # Errors
/// The system refuses to install a handler.
pub fn hang_ups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Signals that have no meaning for the server, and whose default would kill it without a drain.
///
/// Other signals keep their defaults, which are useful: SIGQUIT makes a hung process dump core, SIGALRM and
/// SIGXCPU enforce limits set by whoever started it, SIGTSTP suspends it in a terminal. The Rust runtime
/// already ignores SIGPIPE.
#[derive(Debug)]
pub struct IgnoredSignals {
    user_1: Signal,
    user_2: Signal,
}

impl IgnoredSignals {
    /// From then on, none of them ends the process.
    ///
    /// # Errors
    /// The system refuses to install a handler.
    pub fn listen() -> io::Result<Self> {
        // With a handler, a log file that reaches its size limit fails the write instead of killing
        // the process. It is not logged: the log line would raise it again.
        let file_size = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        drop(signal(file_size)?);
        Ok(Self {
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Logs each signal until dropped.
    pub async fn log(mut self) {
        loop {
            let signal = tokio::select! {
                _ = self.user_1.recv() => "SIGUSR1",
                _ = self.user_2.recv() => "SIGUSR2",
            };
            tracing::warn!(
                signal,
                "ignored a signal, send SIGHUP to reload the configuration"
            );
        }
    }
}
