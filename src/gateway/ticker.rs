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

/// The least number of steps in a delay, which is rounded up to a whole one so that many connections
/// share a tick. A step is a power of two of milliseconds, so a delay has up to twice as many.
const STEPS: u64 = 128;
/// The longest step, in milliseconds.
const LONGEST_STEP: u64 = 1_024;

/// A moment, in milliseconds since the ticker was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u64);

impl Tick {
    pub(super) const NEVER: Self = Self(u64::MAX);

    /// This moment plus a delay; `NEVER` stays as it is.
    pub(super) fn plus(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay.as_millis() as u64))
    }

    /// Milliseconds since another moment.
    pub(super) fn since(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

/// Something with timers.
pub(super) trait Timed: Send + Sync + 'static {
    /// Does what is due now.
    fn tick(&self, now: Tick);
}

/// By moment and address, so that a call can be cancelled.
type Due<T> = BTreeMap<(Tick, usize), Weak<T>>;

/// Calls everything with timers when it is due.
pub(super) struct Ticker<T> {
    started: Instant,
    due: Mutex<Due<T>>,
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

    /// The moment after a delay, never early, and late by less than one step.
    pub(super) fn after(&self, delay: Duration) -> Tick {
        let at = self.started.elapsed().saturating_add(delay);
        let longest = (delay.as_millis() as u64 / STEPS).clamp(1, LONGEST_STEP);
        let step = 1 << longest.ilog2();
        Tick((at.as_micros().div_ceil(1_000) as u64).next_multiple_of(step))
    }

    /// Moves a call of [`Timed::tick`] from one moment to another; [`Tick::NEVER`] means no call.
    pub(super) fn reschedule(&self, timed: &Weak<T>, from: Tick, to: Tick) {
        let address = timed.as_ptr().addr();
        let mut due = self.due();
        due.remove(&(from, address));
        if to == Tick::NEVER {
            return;
        }
        let is_first = due.first_key_value().is_none_or(|(first, _)| to < first.0);
        due.insert((to, address), timed.clone());
        drop(due);
        if is_first {
            self.sooner.notify_one();
        }
    }

    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let next = self.due().first_key_value().map(|(key, _)| key.0);
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
                if let Some(timed) = timed.upgrade() {
                    timed.tick(self.now());
                }
                consume_budget().await;
            }
        }
    }

    fn take_due(&self) -> Option<Weak<T>> {
        let now = self.now();
        let mut due = self.due();
        let first = due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.due().len()
    }

    fn due(&self) -> MutexGuard<'_, Due<T>> {
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
    async fn a_tick_is_late_by_less_than_a_step_and_never_early() {
        let ticker = Ticker::<Alarm>::new();
        tokio::time::advance(Duration::from_micros(12_345_678)).await;
        for (delay, step) in [
            (0, 1),
            (255, 1),
            (256, 2),
            (25_000, 128),
            (131_072, 1_024),
            (604_800_000, 1_024),
        ] {
            let Tick(at) = ticker.after(Duration::from_millis(delay));
            assert_eq!(at % step, 0, "{delay}");
            let exact = 12_345.678 + delay as f64;
            let late = at as f64 - exact;
            assert!((0.0..step as f64).contains(&late), "{delay}: {late}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_come_in_order_and_never_early() {
        let ticker = Arc::new(Ticker::<Alarm>::new());
        let task = tokio::spawn(ticker.clone().run());
        let alarm = Arc::new(Alarm::default());
        for delay in [400, 100, 0, 25_000] {
            let at = ticker.after(Duration::from_millis(delay));
            ticker.reschedule(&Arc::downgrade(&alarm), Tick::NEVER, at);
            tokio::task::yield_now().await;
        }
        // One whose owner is gone does no harm.
        ticker.reschedule(&Weak::new(), Tick::NEVER, ticker.now());
        // One that is moved twice, and then cancelled.
        let [soon, later] = [200, 300].map(|delay| ticker.after(Duration::from_millis(delay)));
        for (from, to) in [(Tick::NEVER, later), (later, soon), (soon, Tick::NEVER)] {
            ticker.reschedule(&Arc::downgrade(&alarm), from, to);
        }
        tokio::time::sleep(Duration::from_secs(26)).await;
        let calls = alarm.0.lock().unwrap().clone();
        assert_eq!(calls, [0, 100, 400, 25_088].map(Tick));
        task.abort();
    }
}
