//! One socket's subscription to its user's channel.

use std::{future::poll_fn, sync::Arc};

use super::RedisBus;
use crate::id::UserId;

/// Keeps a user's channel subscribed until dropped.
#[derive(Debug)]
pub struct Subscription {
    bus: Arc<RedisBus>,
    user: UserId,
}

impl Subscription {
    /// Resolves when Redis has confirmed it. Cancellation-safe.
    pub(super) async fn confirmed(bus: &Arc<RedisBus>, user: &UserId) -> Self {
        bus.feed(|state| state.subscribe(user));
        let subscription = Self {
            bus: bus.clone(),
            user: user.clone(),
        };
        poll_fn(|context| bus.state().poll_subscribed(user, context.waker())).await;
        subscription
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.bus.feed(|state| state.unsubscribe(&self.user));
    }
}
