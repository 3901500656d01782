//! Which users' channels this node hears, and which it is about to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::id::{IdMap, UserId};

/// The channels of the users that this node has sockets of.
#[derive(Debug, Default)]
pub struct Channels {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    users: IdMap<UserId, Channel>,
    /// Users whose subscription may have to change; looked at again when their turn comes.
    changed: Vec<UserId>,
}

#[derive(Debug, Default)]
struct Channel {
    hearings: usize,
    /// SUBSCRIBE was sent on the present connection.
    requested: bool,
    /// Redis has confirmed it.
    heard: bool,
    /// Who waits for that.
    waiting: Vec<oneshot::Sender<()>>,
}

/// Keeps a user's channel subscribed until dropped.
#[derive(Debug)]
pub struct Hearing {
    channels: Arc<Channels>,
    user: UserId,
}

/// What to tell Redis next, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub unsubscribe: Vec<UserId>,
    pub subscribe: Vec<UserId>,
}

impl Channels {
    /// Resolves when the channel is confirmed to be heard. Cancellation-safe.
    pub async fn hear(self: &Arc<Self>, user: &UserId) -> Hearing {
        let (hearing, confirmed) = self.want(user);
        if let Some(confirmed) = confirmed {
            // The sender goes only with the channel's entry, which our hearing keeps.
            confirmed.await.ok();
        }
        hearing
    }

    fn want(self: &Arc<Self>, user: &UserId) -> (Hearing, Option<oneshot::Receiver<()>>) {
        let mut state = self.lock();
        let channel = state.users.entry(user.clone()).or_default();
        channel.hearings += 1;
        let hearing = Hearing {
            channels: self.clone(),
            user: user.clone(),
        };
        if channel.heard {
            return (hearing, None);
        }
        let (sender, confirmed) = oneshot::channel();
        channel.waiting.push(sender);
        if !channel.requested {
            state.changed.push(user.clone());
            self.changed.notify_one();
        }
        (hearing, Some(confirmed))
    }

    /// Whether messages on the user's channel are certain to arrive here.
    pub fn is_heard(&self, user: &UserId) -> bool {
        let state = self.lock();
        state.users.get(user).is_some_and(|channel| channel.heard)
    }

    /// Whether anyone here wants the user's channel.
    pub fn is_wanted(&self, user: &UserId) -> bool {
        let state = self.lock();
        let channel = state.users.get(user);
        channel.is_some_and(|channel| channel.hearings > 0)
    }

    /// Waits until [`Self::take_changes`] may have something. Cancellation-safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether [`Self::take_changes`] may have something now.
    pub fn has_changes(&self) -> bool {
        !self.lock().changed.is_empty()
    }

    /// Up to `limit` changes to tell Redis.
    pub fn take_changes(&self, limit: usize) -> Changes {
        let mut state = self.lock();
        let mut changes = Changes::default();
        let count = limit.min(state.changed.len());
        let users: Vec<UserId> = state.changed.drain(..count).collect();
        for user in users {
            let Some(channel) = state.users.get_mut(&user) else {
                continue;
            };
            if channel.hearings == 0 {
                if channel.requested {
                    changes.unsubscribe.push(user.clone());
                }
                state.users.remove(&user);
            } else if !channel.requested {
                channel.requested = true;
                changes.subscribe.push(user);
            }
        }
        if !state.changed.is_empty() {
            self.changed.notify_one();
        }
        changes
    }

    /// Redis has confirmed these subscriptions.
    pub fn confirm(&self, users: &[UserId]) {
        let mut state = self.lock();
        for user in users {
            if let Some(channel) = state.users.get_mut(user) {
                channel.heard = true;
                channel.waiting.drain(..).for_each(|waiting| {
                    waiting.send(()).ok();
                });
            }
        }
    }

    /// The connection is gone, and every subscription with it.
    pub fn lose(&self) {
        let mut state = self.lock();
        state.users.retain(|_, channel| {
            channel.requested = false;
            channel.heard = false;
            channel.hearings > 0
        });
        state.changed = state.users.keys().cloned().collect();
        self.changed.notify_one();
    }

    /// How many users' channels are wanted.
    pub fn count(&self) -> usize {
        self.lock().users.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No operation above leaves the state half-changed, so a poisoned lock is as good as new.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let mut state = self.channels.lock();
        let Some(channel) = state.users.get_mut(&self.user) else {
            return;
        };
        channel.hearings -= 1;
        if channel.hearings == 0 {
            state.changed.push(self.user.clone());
            self.channels.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn user(text: &str) -> UserId {
        UserId::try_from(text).unwrap()
    }

    #[test]
    fn hearing_resolves_when_redis_confirms() {
        let channels = Arc::new(Channels::default());
        let a = user("a");
        let mut hear = Box::pin(channels.hear(&a));
        assert!(hear.as_mut().now_or_never().is_none());
        let changes = channels.take_changes(10);
        assert_eq!(
            changes,
            Changes {
                subscribe: vec![a.clone()],
                unsubscribe: vec![]
            }
        );
        assert!(!channels.is_heard(&a));
        channels.confirm(&changes.subscribe);
        let hearing = hear.now_or_never().unwrap();
        assert!(channels.is_heard(&a));
        drop(hearing);
        let changes = channels.take_changes(10);
        assert_eq!(
            changes,
            Changes {
                subscribe: vec![],
                unsubscribe: vec![a.clone()]
            }
        );
        assert!(!channels.is_heard(&a));
    }

    #[test]
    fn a_user_who_returns_at_once_is_not_unsubscribed() {
        let channels = Arc::new(Channels::default());
        let a = user("a");
        let (first, _) = channels.want(&a);
        channels.confirm(&channels.take_changes(10).subscribe);
        drop(first);
        let second = channels.hear(&a).now_or_never();
        assert!(second.is_some());
        assert_eq!(channels.take_changes(10), Changes::default());
    }

    #[test]
    fn a_lost_connection_leaves_everything_to_be_asked_for_again() {
        let channels = Arc::new(Channels::default());
        let (kept, gone) = (user("kept"), user("gone"));
        let (_hearing, _) = channels.want(&kept);
        let (dropped, _) = channels.want(&gone);
        channels.confirm(&channels.take_changes(10).subscribe);
        drop(dropped);
        channels.lose();
        assert!(!channels.is_heard(&kept));
        assert!(channels.is_wanted(&kept) && !channels.is_wanted(&gone));
        let changes = channels.take_changes(10);
        assert_eq!(
            changes,
            Changes {
                subscribe: vec![kept],
                unsubscribe: vec![]
            }
        );
    }

    #[test]
    fn a_cancelled_wait_leaves_nothing_behind() {
        let channels = Arc::new(Channels::default());
        let a = user("a");
        let mut hear = Box::pin(channels.hear(&a));
        assert!(hear.as_mut().now_or_never().is_none());
        drop(hear);
        assert_eq!(channels.take_changes(10), Changes::default());
        assert_eq!(channels.count(), 0);
    }
}
