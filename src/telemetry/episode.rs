//! Repeated failures, which are logged only when they begin and when they end.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Failures of one kind; over once none has happened for a while.
#[derive(Debug)]
pub struct Episode {
    calm: Duration,
    last: Mutex<Option<Instant>>,
}

impl Episode {
    /// `calm` is the time without a failure after which the episode is over.
    pub const fn new(calm: Duration) -> Self {
        Self {
            calm,
            last: Mutex::new(None),
        }
    }

    /// Notes a failure. Returns whether it begins an episode.
    pub fn begins(&self, now: Instant) -> bool {
        self.last().replace(now).is_none()
    }

    /// Notes a success. Returns whether it ends an episode.
    pub fn ends(&self, now: Instant) -> bool {
        let mut last = self.last();
        let is_over = last.is_some_and(|last| now.duration_since(last) >= self.calm);
        if is_over {
            *last = None;
        }
        is_over
    }

    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        // No operation leaves it half-changed, so a poisoned lock is as good as new.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_ends_only_after_a_while_without_failures() {
        const CALM: Duration = Duration::from_secs(1);
        let (episode, start) = (Episode::new(CALM), Instant::now());
        assert!(!episode.ends(start));
        assert!(episode.begins(start));
        assert!(!episode.ends(start + CALM / 2));
        assert!(!episode.begins(start + CALM / 2));
        assert!(!episode.ends(start + CALM));
        assert!(episode.ends(start + CALM * 2));
        assert!(!episode.ends(start + CALM * 3));
        assert!(episode.begins(start + CALM * 3));
    }
}
