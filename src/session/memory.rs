//! Sessions in this process: for one node, lost when it ends.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Claim;
use crate::id::{SessionId, UserId};

/// The active sessions of one process.
#[derive(Debug)]
pub struct MemorySessions {
    pub(super) ttl: Duration,
    /// Ordered, so that a listing can continue where it stopped.
    active: Mutex<BTreeMap<UserId, Active>>,
}

#[derive(Debug, Clone)]
struct Active {
    session: SessionId,
    until: Instant,
}

impl MemorySessions {
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            active: Mutex::default(),
        }
    }

    /// The sessions that have not expired, ordered by user, from the first one past `after`.
    pub fn list(&self, after: Option<&UserId>, limit: usize) -> Vec<(UserId, SessionId, Duration)> {
        let now = Instant::now();
        let active = self.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let later = active.range::<UserId, _>((from, Bound::Unbounded));
        later
            .filter(|(_, active)| active.until > now)
            .map(|(user, active)| (user.clone(), active.session.clone(), active.until - now))
            .take(limit)
            .collect()
    }

    /// The user's session, if it has not expired, and for how long it is kept.
    pub fn find(&self, user: &UserId) -> Option<(UserId, SessionId, Duration)> {
        let now = Instant::now();
        let active = self.lock();
        let found = active.get(user).filter(|found| found.until > now)?;
        Some((user.clone(), found.session.clone(), found.until - now))
    }

    /// Drops what is past its TTL.
    pub fn forget_expired(&self) {
        let now = Instant::now();
        self.lock().retain(|_, active| active.until > now);
    }

    pub(super) fn claim(&self, user: &UserId, session: &SessionId) -> Claim {
        let mut active = self.lock();
        let found = active
            .get(user)
            .filter(|found| found.until > Instant::now());
        let claim = match found {
            Some(found) if found.session != *session => return Claim::Mismatch,
            Some(_) => Claim::Active,
            None => Claim::Adopted { told: 0 },
        };
        active.insert(user.clone(), self.fresh(session));
        claim
    }

    pub(super) fn replace(&self, user: &UserId, session: &SessionId) {
        self.lock().insert(user.clone(), self.fresh(session));
    }

    pub(super) fn remove(&self, user: &UserId) -> bool {
        let removed = self.lock().remove(user);
        removed.is_some_and(|removed| removed.until > Instant::now())
    }

    pub(super) fn active(&self, user: &UserId) -> Option<SessionId> {
        let (_, session, _) = self.find(user)?;
        Some(session)
    }

    pub(super) fn renew(&self, user: &UserId, session: &SessionId) {
        if let Some(found) = self
            .lock()
            .get_mut(user)
            .filter(|found| found.session == *session)
        {
            *found = self.fresh(session);
        }
    }

    fn fresh(&self, session: &SessionId) -> Active {
        Active {
            session: session.clone(),
            until: Instant::now() + self.ttl,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<UserId, Active>> {
        // No operation above leaves the map half-changed, so a poisoned lock is as good as new.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (UserId, SessionId, SessionId) {
        let session = |text| SessionId::try_from(text).unwrap();
        (UserId::try_from("u1").unwrap(), session("a"), session("b"))
    }

    #[test]
    fn the_first_session_is_adopted_and_others_are_not() {
        let (user, a, b) = ids();
        let sessions = MemorySessions::new(Duration::from_secs(60));
        assert_eq!(sessions.claim(&user, &a), Claim::Adopted { told: 0 });
        assert_eq!(sessions.claim(&user, &a), Claim::Active);
        assert_eq!(sessions.claim(&user, &b), Claim::Mismatch);
        sessions.replace(&user, &b);
        assert_eq!(sessions.claim(&user, &a), Claim::Mismatch);
        assert_eq!(sessions.active(&user), Some(b));
        assert!(sessions.remove(&user) && !sessions.remove(&user));
        assert_eq!(sessions.claim(&user, &a), Claim::Adopted { told: 0 });
    }

    #[test]
    fn a_session_past_its_ttl_is_forgotten() {
        let (user, a, b) = ids();
        let sessions = MemorySessions::new(Duration::ZERO);
        sessions.replace(&user, &a);
        assert_eq!(sessions.active(&user), None);
        assert_eq!(sessions.claim(&user, &b), Claim::Adopted { told: 0 });
        sessions.forget_expired();
        assert!(sessions.list(None, 10).is_empty());
    }

    #[test]
    fn a_listing_continues_where_it_stopped() {
        let (_, a, _) = ids();
        let sessions = MemorySessions::new(Duration::from_secs(60));
        let users = ["u1", "u2", "u3"].map(|user| UserId::try_from(user).unwrap());
        users.iter().for_each(|user| sessions.replace(user, &a));
        let page = sessions.list(Some(&users[0]), 1);
        assert_eq!(page.len(), 1);
        assert_eq!(page[0].0, users[1]);
    }
}
