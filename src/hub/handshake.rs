//! Sockets in their handshake, and admitted sockets.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Farewell, Hub, Outlet,
    user::{Denied, Known, User},
};
use crate::id::{SessionId, UserId};

/// A socket whose session is being checked. Its place is given up when this is dropped.
pub struct Handshake {
    pub(super) hub: Arc<Hub>,
    pub(super) user: Arc<User>,
    pub(super) session: SessionId,
    pub(super) outlet: Arc<dyn Outlet>,
    /// Its session is looked up after this.
    pub(super) began: Instant,
    pub(super) known: Known,
}

impl Handshake {
    /// The user's id, as all sockets of the user share it.
    pub fn user(&self) -> &UserId {
        &self.user.id
    }

    /// Admits the socket, whose session is proven. Events are queued from now on until
    /// [`Lease::activate`].
    ///
    /// # Errors
    /// Why the socket is not admitted.
    pub fn admit(mut self, sockets_per_user: Option<usize>) -> Result<Lease, NotAdmitted> {
        match self.user.admit(
            &self.hub,
            &self.session,
            &self.outlet,
            self.known,
            sockets_per_user,
            self.began,
        ) {
            Ok(number) => Ok(Lease {
                hub: self.hub.clone(),
                user: self.user.clone(),
                number,
            }),
            Err(Denied::Doubted(known)) => {
                self.known = known;
                Err(NotAdmitted::Doubted(self))
            }
            Err(Denied::Full) => Err(NotAdmitted::Full),
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.user.end_handshake(&self.hub);
    }
}

/// Why a socket is not admitted.
pub enum NotAdmitted {
    /// The session may have changed since it was checked: check again.
    Doubted(Handshake),
    /// The user has as many sockets of the session as are allowed.
    Full,
}

/// A socket's place in the hub. It is given up when this is dropped.
pub struct Lease {
    pub(super) hub: Arc<Hub>,
    pub(super) user: Arc<User>,
    pub(super) number: u64,
}

impl Lease {
    pub fn user(&self) -> &UserId {
        &self.user.id
    }

    /// The client has been told that it has joined: it gets the queued events, and all later ones.
    ///
    /// # Errors
    /// The socket was revoked in the meantime; the caller dismisses it.
    pub fn activate(&self) -> Result<(), Farewell> {
        self.user.activate(&self.hub, self.number)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.user.remove(&self.hub, self.number);
    }
}
