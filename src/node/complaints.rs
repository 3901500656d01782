//! A problem that many clients run into is logged once, not for each of them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// For how long the same complaint is not logged again.
const SILENCE: Duration = Duration::from_secs(60);
/// How many complaints are remembered: some name a user, so there could be any number.
const MEMORY: usize = 64;

/// The complaints that were logged lately.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashMap<(&'static str, String), Instant>>);

impl Complaints {
    /// Logs what could not be done and why, unless that was logged within the last minute.
    pub(super) fn tell(&self, what: &'static str, why: String) {
        if self.is_news(what, &why, Instant::now()) {
            tracing::warn!(why, "{what}");
        } else {
            tracing::debug!(why, "{what}");
        }
    }

    fn is_news(&self, what: &'static str, why: &str, now: Instant) -> bool {
        // No operation leaves the map half-changed.
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < SILENCE);
        let complaint = (what, why.to_owned());
        if told.contains_key(&complaint) || told.len() >= MEMORY {
            return false;
        }
        told.insert(complaint, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_complaint_is_news_once_a_minute() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        assert!(complaints.is_news("cannot check", "full", now));
        assert!(!complaints.is_news("cannot check", "full", now + SILENCE / 2));
        assert!(complaints.is_news("cannot check", "read-only", now));
        assert!(complaints.is_news("cannot replace", "full", now));
        assert!(complaints.is_news("cannot check", "full", now + SILENCE));
    }

    #[test]
    fn a_flood_of_different_complaints_is_cut_off() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        let told = (0..10 * MEMORY)
            .filter(|user| complaints.is_news("cannot check", &user.to_string(), now));
        assert_eq!(told.count(), MEMORY);
    }
}
