//! A line in the log for each socket that ends, if `log.access` is set.
//!
//! Its data is kept outside the connections, so that it costs nothing when the access log is
//! off.

use std::time::Instant;

use dashmap::DashMap;

use super::{engine::TransportKind, registry::Sid};
use crate::{
    id::{SessionId, UserId},
    stream::ClientAddress,
};

/// The target of these lines, by which a filter or a collector finds them.
const ACCESS: &str = "sockd::access";
/// Characters of a session that are logged: enough to tell two apart.
const SHOWN: usize = 8;

/// `None` if `log.access` is off.
pub(super) struct AccessLog(Option<DashMap<Sid, Record>>);

/// What is known of an open connection.
struct Record {
    address: Option<ClientAddress>,
    transport: TransportKind,
    socket: Option<Socket>,
}

struct Socket {
    user: UserId,
    /// The beginning of the session, which is half of a credential.
    session: String,
    since: Instant,
}

impl AccessLog {
    pub(super) fn new(is_wanted: bool) -> Self {
        Self(is_wanted.then(DashMap::new))
    }

    /// A connection is open; [`Self::ended`] is called at its end.
    pub(super) fn opened(
        &self,
        sid: Sid,
        transport: TransportKind,
        address: Option<ClientAddress>,
    ) {
        if let Some(records) = &self.0 {
            let record = Record {
                address,
                transport,
                socket: None,
            };
            records.insert(sid, record);
        }
    }

    /// The connection has moved to a WebSocket.
    pub(super) fn upgraded(&self, sid: &Sid) {
        if let Some(mut record) = self.0.as_ref().and_then(|records| records.get_mut(sid)) {
            record.transport = TransportKind::WebSocket;
        }
    }

    /// A client has been told that it is in.
    pub(super) fn joined(&self, sid: &Sid, user: &UserId, session: &SessionId) {
        if let Some(mut record) = self.0.as_ref().and_then(|records| records.get_mut(sid)) {
            record.socket = Some(Socket {
                user: user.clone(),
                session: beginning(session.as_str()),
                since: Instant::now(),
            });
        }
    }

    /// The client has left, and its connection stays open.
    pub(super) fn left(&self, sid: &Sid) {
        let record = self.0.as_ref().and_then(|records| records.get_mut(sid));
        if let Some(mut record) = record
            && let Some(socket) = record.socket.take()
        {
            socket.log(record.transport, record.address, "client_left");
        }
    }

    /// The connection ends.
    pub(super) fn ended(&self, sid: &Sid, why: &'static str) {
        let removed = self.0.as_ref().and_then(|records| records.remove(sid));
        if let Some((_, record)) = removed
            && let Some(socket) = record.socket
        {
            socket.log(record.transport, record.address, why);
        }
    }
}

impl Socket {
    fn log(&self, transport: TransportKind, address: Option<ClientAddress>, why: &'static str) {
        let Self {
            user,
            session,
            since,
        } = self;
        let address = address.map(tracing::field::display);
        let transport = transport.label();
        let duration_ms = since.elapsed().as_millis() as u64;
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

/// The first characters; at most half of a short text.
fn beginning(text: &str) -> String {
    let length = text.chars().count();
    text.chars().take(SHOWN.min(length / 2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_beginning_of_a_session_is_kept() {
        assert_eq!(
            beginning("3f2b8c1e-5a4d-4e6f-8a9b-0c1d2e3f4a5b"),
            "3f2b8c1e"
        );
        assert_eq!(beginning("abcdef"), "abc");
        assert_eq!(beginning("a"), "");
    }
}
