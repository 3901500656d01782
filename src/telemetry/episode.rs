//! Trouble that comes again and again, to be logged at its beginning and at its end.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// One kind of trouble. It is over once it has not come for a while.
#[derive(Debug)]
pub struct Episode {
    calm: Duration,
    last: Mutex<Option<Instant>>,
}

impl Episode {
    /// With the time without trouble after which it is over.
    pub const fn new(calm: Duration) -> Self {
        Self {
            calm,
            last: Mutex::new(None),
        }
    }

    /// Notes trouble. Returns whether it has only begun.
    pub fn begins(&self, now: Instant) -> bool {
        self.last().replace(now).is_none()
    }

    /// Notes that all went well. Returns whether that ends the trouble.
    pub fn ends(&self, now: Instant) -> bool {
        let mut last = self.last();
        let is_over = last.is_some_and(|last| now.duration_since(last) >= self.calm);
        if is_over {
            *last = None;
        }
        is_over
    }

    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        // It is whole after every operation.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_ends_only_after_a_while_without_trouble() {
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
