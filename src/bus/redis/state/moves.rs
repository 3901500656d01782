//! Channels that move to another shard of a Cluster. Redis ends the subscription to them, but not at the moment
//! when they move.

use super::{Action, NotReady, Phase, State};

/// Whether channels move to another shard of a Cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moving {
    No,
    /// A channel has no subscribers at its master; this many hellos have returned since.
    Maybe(u32),
    /// They are being found again.
    Yes,
}

impl State {
    /// Some channels are no longer subscribed and have to be found again.
    pub(in crate::bus::redis) fn moved(&mut self) {
        self.moving = Moving::Yes;
        self.lanes.hold();
    }

    /// They are found, and the node has caught up with what it missed on them.
    pub(in crate::bus::redis) fn followed(&mut self) {
        self.moving = Moving::No;
        self.follows += 1;
        self.caught_up();
        // The command connection may not know their new master yet.
        self.actions.push(Action::SayHello);
    }

    /// Nobody has received an event on a channel that this node is subscribed to. `follows` is
    /// [`State::follows`] when the event began.
    pub(super) fn doubt_subscriptions(&mut self, follows: u64) {
        self.actions.push(Action::FindMaster);
        match self.moving {
            // The event may have been published before its channel was found again.
            Moving::No if self.follows != follows => self.doubt(NotReady::SubscriptionLost),
            // Redis moves a channel before it says so.
            Moving::No if self.phase == Phase::Live && self.canary.is_of_cluster() => {
                self.moving = Moving::Maybe(0);
                self.doubt(NotReady::SubscriptionLost);
            }
            Moving::No => self.condemn(NotReady::SubscriptionLost),
            // Other nodes have missed it as well, but no connection has to be replaced.
            Moving::Maybe(_) | Moving::Yes => self.doubt(NotReady::SubscriptionLost),
        }
    }
}
