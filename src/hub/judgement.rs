//! Sockets whose session is in doubt, and those that must go.

use std::sync::Arc;

use tokio::task::yield_now;

use super::{Farewell, Hub, TURN, sockets::Socket, user::User};
use crate::{id::SessionId, wire::LogoutReason};

/// Sockets whose session is in doubt; the user's events are queued until this is dropped.
pub struct Judgement {
    pub(super) hub: Arc<Hub>,
    pub(super) user: Arc<User>,
    pub(super) number: u64,
}

impl Judgement {
    /// Revokes the judged sockets of other sessions than this one: they get nothing more but the reason.
    pub fn keep(&self, session: &SessionId, reason: LogoutReason) -> Revoked {
        self.user.keep(&self.hub, self.number, session, reason)
    }
}

impl Drop for Judgement {
    fn drop(&mut self) {
        self.user.end_judgement(&self.hub);
    }
}

/// Sockets that were revoked. Dropping it dismisses those that are left.
#[must_use = "their clients have to be told"]
pub struct Revoked {
    pub(super) sockets: Vec<Socket>,
    pub(super) farewell: Farewell,
}

impl Revoked {
    /// Dismisses them in turns. Returns how many were still connected, including those whose clients
    /// do not know yet that they had joined. Cancellation-safe.
    pub async fn dismiss(mut self) -> u64 {
        let mut count = 0;
        while !self.sockets.is_empty() {
            count += self.dismiss_turn();
            yield_now().await;
        }
        count
    }

    fn dismiss_turn(&mut self) -> u64 {
        let rest = self.sockets.len().saturating_sub(TURN);
        let turn = self.sockets.drain(rest..);
        // A socket that is not live yet is told when `Lease::activate` fails.
        let was_connected =
            |socket: &Socket| !socket.is_live() || socket.outlet.dismiss(&self.farewell);
        turn.filter(was_connected).count() as u64
    }
}

impl Drop for Revoked {
    fn drop(&mut self) {
        while !self.sockets.is_empty() {
            self.dismiss_turn();
        }
    }
}
