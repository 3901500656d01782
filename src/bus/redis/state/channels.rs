//! Which users' channels this node is subscribed to, and which it is about to be.

use std::{
    mem,
    task::{Poll, Waker},
    time::Instant,
};

use super::{Action, State};
use crate::{
    bus::NotReady,
    id::{IdMap, UserId},
};

/// The channels of the users that this node has sockets of.
#[derive(Debug, Default)]
pub(super) struct Channels {
    users: IdMap<UserId, Channel>,
    /// Users whose subscription may have to change; [`Self::take_changes`] decides.
    changed: Vec<UserId>,
    /// Set if a change was not confirmed in time: how many hellos have returned since.
    overdue: Option<u32>,
}

#[derive(Debug, Default)]
struct Channel {
    /// How many subscriptions want it.
    wanted: usize,
    /// SUBSCRIBE was sent on the present connection.
    requested: bool,
    /// Redis has confirmed it.
    subscribed: bool,
    /// It is in [`Channels::changed`].
    changed: bool,
    /// The tasks that wait for the confirmation.
    waiting: Vec<Waker>,
}

/// What to tell Redis next, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::bus::redis) struct Changes {
    pub(in crate::bus::redis) unsubscribe: Vec<UserId>,
    pub(in crate::bus::redis) subscribe: Vec<UserId>,
}

impl Channels {
    /// Counts one more subscription; returns whether Redis has to be told.
    pub(super) fn want(&mut self, user: &UserId) -> bool {
        let channel = self.users.entry(user.clone()).or_default();
        channel.wanted += 1;
        let is_new = !channel.requested;
        if is_new && !mem::replace(&mut channel.changed, true) {
            self.changed.push(user.clone());
        }
        is_new
    }

    /// Counts one subscription less; returns whether Redis may have to be told, and the tasks to wake so that
    /// they wait again.
    pub(super) fn unwant(&mut self, user: &UserId) -> (bool, Vec<Waker>) {
        let Some(channel) = self.users.get_mut(user) else {
            return (false, Vec::new());
        };
        channel.wanted -= 1;
        // One of these tasks may have given up, and it is not known which.
        let waiting = mem::take(&mut channel.waiting);
        let is_last = channel.wanted == 0;
        if is_last && !mem::replace(&mut channel.changed, true) {
            self.changed.push(user.clone());
        }
        (is_last, waiting)
    }

    pub(super) fn poll_subscribed(&mut self, user: &UserId, waker: &Waker) -> Poll<()> {
        match self.users.get_mut(user) {
            Some(channel) if channel.subscribed => Poll::Ready(()),
            Some(channel) => {
                if !channel.waiting.iter().any(|known| known.will_wake(waker)) {
                    channel.waiting.push(waker.clone());
                }
                Poll::Pending
            }
            // A task that waits has a subscription, so the channel exists.
            None => Poll::Pending,
        }
    }

    /// Whether messages on the user's channel are certain to arrive here.
    pub(super) fn is_subscribed(&self, user: &UserId) -> bool {
        let channel = self.users.get(user);
        channel.is_some_and(|channel| channel.subscribed)
    }

    /// Whether anyone here wants the user's channel.
    pub(super) fn is_wanted(&self, user: &UserId) -> bool {
        let channel = self.users.get(user);
        channel.is_some_and(|channel| channel.wanted > 0)
    }

    /// Whether [`Self::take_changes`] may have something now.
    pub(super) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Up to `limit` changes to tell Redis.
    pub(super) fn take_changes(&mut self, limit: usize) -> Changes {
        let mut changes = Changes::default();
        let count = limit.min(self.changed.len());
        for user in self.changed.drain(..count) {
            let Some(channel) = self.users.get_mut(&user) else {
                continue;
            };
            channel.changed = false;
            if channel.wanted == 0 {
                let was_requested = channel.requested;
                self.users.remove(&user);
                if was_requested {
                    changes.unsubscribe.push(user);
                }
            } else if !channel.requested {
                channel.requested = true;
                changes.subscribe.push(user);
            }
        }
        changes
    }

    /// Redis has confirmed these subscriptions; returns the tasks that wait for them.
    pub(super) fn confirm(&mut self, users: &[UserId]) -> Vec<Waker> {
        let mut waiting = Vec::new();
        for user in users {
            if let Some(channel) = self.users.get_mut(user) {
                channel.subscribed = true;
                waiting.append(&mut channel.waiting);
                channel.waiting.shrink_to_fit();
            }
        }
        waiting
    }

    /// A hello has returned; returns how many have since a change became overdue, if one is.
    pub(super) fn overdue_hello(&mut self) -> Option<u32> {
        let hellos = self.overdue.as_mut()?;
        *hellos += 1;
        Some(*hellos)
    }

    /// The connection is gone, and every subscription with it.
    pub(super) fn lose(&mut self) {
        self.overdue = None;
        self.users.retain(|_, channel| {
            channel.requested = false;
            channel.subscribed = false;
            channel.changed = true;
            channel.wanted > 0
        });
        self.changed = self.users.keys().cloned().collect();
    }

    /// How many users' channels are wanted.
    pub(super) fn count(&self) -> usize {
        self.users.len()
    }
}

impl State {
    /// Adds a subscription to the user's channel; [`Self::poll_subscribed`] waits for it.
    pub(in crate::bus::redis) fn subscribe(&mut self, user: &UserId) {
        if self.channels.want(user) {
            self.actions.push(Action::ChangeSubscriptions);
        }
    }

    /// Whether messages on the user's channel are certain to arrive here.
    pub(in crate::bus::redis) fn poll_subscribed(
        &mut self,
        user: &UserId,
        waker: &Waker,
    ) -> Poll<()> {
        self.channels.poll_subscribed(user, waker)
    }

    /// Undoes one [`Self::subscribe`].
    pub(in crate::bus::redis) fn unsubscribe(&mut self, user: &UserId) {
        let (is_last, waiting) = self.channels.unwant(user);
        if is_last {
            self.actions.push(Action::ChangeSubscriptions);
        }
        self.actions.extend(waiting.into_iter().map(Action::Wake));
    }

    pub(in crate::bus::redis) fn has_changes(&self) -> bool {
        self.channels.has_changes()
    }

    /// Up to `limit` changes to tell Redis.
    pub(in crate::bus::redis) fn take_changes(&mut self, limit: usize, now: Instant) -> Changes {
        let changes = self.channels.take_changes(limit);
        if self.channels.has_changes() {
            self.actions.push(Action::ChangeSubscriptions);
        }
        if !changes.unsubscribe.is_empty() {
            self.lanes.give_up_of(&changes.unsubscribe, now);
            self.actions.push(Action::TendLate);
        }
        changes
    }

    /// Redis has confirmed these subscriptions.
    pub(in crate::bus::redis) fn subscribed(&mut self, users: &[UserId]) {
        let waiting = self.channels.confirm(users);
        self.actions.extend(waiting.into_iter().map(Action::Wake));
    }

    /// Redis has not confirmed a change of subscriptions in time.
    pub(in crate::bus::redis) fn changes_overdue(&mut self) {
        self.channels.overdue = Some(0);
        self.doubt(NotReady::SubscriptionUnanswered);
    }

    /// Redis has confirmed the overdue change.
    pub(in crate::bus::redis) fn changes_confirmed(&mut self) {
        self.channels.overdue = None;
    }

    /// How many users' channels are wanted.
    pub(in crate::bus::redis) fn users(&self) -> usize {
        self.channels.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserId {
        UserId::try_from(text).unwrap()
    }

    fn subscribe(users: &[&UserId]) -> Changes {
        Changes {
            subscribe: users.iter().copied().cloned().collect(),
            unsubscribe: Vec::new(),
        }
    }

    fn unsubscribe(users: &[&UserId]) -> Changes {
        Changes {
            subscribe: Vec::new(),
            unsubscribe: users.iter().copied().cloned().collect(),
        }
    }

    fn is_subscribed(channels: &mut Channels, user: &UserId) -> bool {
        let waited = channels.poll_subscribed(user, Waker::noop()).is_ready();
        assert_eq!(channels.is_subscribed(user), waited);
        waited
    }

    #[test]
    fn a_channel_is_subscribed_once_redis_confirms_it() {
        let (mut channels, a) = (Channels::default(), user("a"));
        assert!(channels.want(&a));
        assert!(!is_subscribed(&mut channels, &a));
        assert_eq!(channels.take_changes(10), subscribe(&[&a]));
        assert!(!channels.want(&a), "it was requested already");
        assert!(!is_subscribed(&mut channels, &a));
        assert_eq!(channels.confirm(std::slice::from_ref(&a)).len(), 2);
        assert!(is_subscribed(&mut channels, &a));
        assert!(!channels.unwant(&a).0);
        assert_eq!(channels.take_changes(10), Changes::default());
        assert!(channels.unwant(&a).0);
        assert_eq!(channels.take_changes(10), unsubscribe(&[&a]));
        assert!(!channels.is_subscribed(&a));
    }

    #[test]
    fn a_user_who_returns_at_once_is_not_unsubscribed() {
        let (mut channels, a) = (Channels::default(), user("a"));
        channels.want(&a);
        let changes = channels.take_changes(10);
        channels.confirm(&changes.subscribe);
        channels.unwant(&a);
        channels.want(&a);
        assert!(is_subscribed(&mut channels, &a));
        assert_eq!(channels.take_changes(10), Changes::default());
    }

    #[test]
    fn after_a_lost_connection_every_wanted_channel_is_requested_again() {
        let mut channels = Channels::default();
        let (kept, gone) = (user("kept"), user("gone"));
        channels.want(&kept);
        channels.want(&gone);
        let changes = channels.take_changes(10);
        channels.confirm(&changes.subscribe);
        channels.unwant(&gone);
        channels.lose();
        assert!(!is_subscribed(&mut channels, &kept));
        assert!(channels.is_wanted(&kept) && !channels.is_wanted(&gone));
        assert_eq!(channels.take_changes(10), subscribe(&[&kept]));
    }

    #[test]
    fn a_task_that_stops_waiting_leaves_nothing_behind() {
        let (mut channels, a) = (Channels::default(), user("a"));
        channels.want(&a);
        channels.want(&a);
        for _ in 0..2 {
            assert!(!is_subscribed(&mut channels, &a));
        }
        let (is_last, woken) = channels.unwant(&a);
        assert!(!is_last);
        assert_eq!(woken.len(), 2, "the other waits again");
        assert!(channels.unwant(&a).0);
        assert_eq!(channels.take_changes(10), Changes::default());
        assert_eq!(channels.count(), 0);
    }

    #[test]
    fn changes_are_taken_in_batches() {
        let mut channels = Channels::default();
        let users = ["a", "b", "c"].map(user);
        users.iter().for_each(|user| {
            channels.want(user);
        });
        assert_eq!(channels.take_changes(2), subscribe(&[&users[0], &users[1]]));
        assert!(channels.has_changes());
        assert_eq!(channels.take_changes(2), subscribe(&[&users[2]]));
        assert!(!channels.has_changes());
    }
}
