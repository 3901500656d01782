//! A line in the log for each socket that ends, if `log.access` is set.
//!
//! What only these lines need is kept outside the connections, so that it costs nothing while the access
//! log is off.

use dashmap::DashMap;

use super::{engine::TransportKind, registry::Sid};
use crate::{
    id::{SessionId, UserId},
    stream::ClientAddress,
    wire::beginning,
};

/// The target of these lines, by which a filter or a collector finds them.
const ACCESS: &str = "sockd::access";

/// The sockets that have joined; `None` if `log.access` is off.
pub(super) struct AccessLog(Option<DashMap<Sid, Socket>>);

/// Whose socket it is.
struct Socket {
    user: UserId,
    /// Only the beginning of the session: the whole is half of a credential.
    session: String,
}

/// How a socket ends.
pub(super) struct Departure {
    /// `None` once the connection has ended.
    pub(super) kind: Option<TransportKind>,
    pub(super) address: Option<ClientAddress>,
    pub(super) duration_ms: u64,
    pub(super) why: &'static str,
}

impl AccessLog {
    pub(super) fn new(is_wanted: bool) -> Self {
        Self(is_wanted.then(DashMap::new))
    }

    /// A client has joined; [`Self::left`] must follow.
    pub(super) fn joined(&self, sid: &Sid, user: &UserId, session: &SessionId) {
        if let Some(sockets) = &self.0 {
            let socket = Socket {
                user: user.clone(),
                session: beginning(session.as_str()),
            };
            sockets.insert(*sid, socket);
        }
    }

    /// The client has left, or its connection has ended, whether it had joined or not.
    pub(super) fn left(&self, sid: &Sid, departure: &Departure) {
        let removed = self.0.as_ref().and_then(|sockets| sockets.remove(sid));
        if let Some((_, socket)) = removed {
            socket.log(departure);
        }
    }
}

impl Socket {
    fn log(&self, departure: &Departure) {
        let Self { user, session } = self;
        let Departure {
            kind,
            address,
            duration_ms,
            why,
        } = departure;
        let address = address.map(tracing::field::display);
        let transport = kind.map(TransportKind::label);
        tracing::info!(
            target: ACCESS,
            %user,
            session,
            transport,
            address,
            duration_ms,
            why,
            "a socket has ended"
        );
    }
}
