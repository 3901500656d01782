//! A client's CONNECT: who it is, whether it may come in, and the handle that the hub gets.

use std::{cmp::Ordering, convert::Infallible, sync::Arc, time::Duration};

use serde::de::IgnoredAny;
use serde_json::{Map, Value, value::RawValue};
use socketioxide::{
    SendError, SocketError, SocketIo,
    adapter::Adapter,
    extract::{SocketRef, TryData},
    handler::{self, ConnectHandler, FromMessageParts},
    socket::{Sid, Socket},
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::connection::{Connection, Ending};
use crate::{
    auth::{TokenVerifier, strip_bearer, trim, unix_time},
    config::{Limits, OnExpiry},
    hub::{Farewell, Outlet},
    id::EventName,
    lifecycle::Lifecycle,
    node::{Admitted, Applicant, Node},
    wire::{EVENT_EXPIRED, EVENT_LOGOUT, Event, Refusal},
};

/// How long a dismissed or refused client has to read why before its transport goes.
const GRACE: Duration = Duration::from_secs(1);
/// How long if it has not read it by then, in the middle of an upgrade or on a slow line. With what
/// goes before, the second in which a token runs out and the look for it, it is gone within 5 s.
const LONGEST_GRACE: Duration = Duration::from_secs(3);

/// What a handshake needs to know.
pub(super) struct Handshakes {
    pub(super) node: Arc<Node>,
    pub(super) verifier: TokenVerifier,
    pub(super) on_expiry: OnExpiry,
    pub(super) limits: Limits,
    pub(super) lifecycle: Lifecycle,
}

/// Opens the namespace `/`: the middleware decides, and the handler lets the events flow.
pub(super) fn open_namespace(io: &SocketIo, handshakes: Arc<Handshakes>) {
    let activate = {
        let handshakes = handshakes.clone();
        move |socket: SocketRef, io: SocketIo| {
            let handshakes = handshakes.clone();
            async move { handshakes.activate(&socket, &io) }
        }
    };
    let authenticate = move |socket: SocketRef, io: SocketIo, auth: TryData<Map<String, Value>>| {
        let handshakes = handshakes.clone();
        async move { handshakes.authenticate(socket, io, auth.0.ok()).await }
    };
    io.ns("/", activate.with(authenticate));
}

impl Handshakes {
    async fn authenticate(
        &self,
        socket: SocketRef,
        io: SocketIo,
        auth: Option<Map<String, Value>>,
    ) -> Result<(), Refusal> {
        let Some(connection) = socket
            .req_parts()
            .extensions
            .get::<Arc<Connection>>()
            .cloned()
        else {
            return Err(Refusal::AuthUnavailable);
        };
        let Some(auth) = auth else {
            connection.end(Ending::Unreadable);
            return Err(Refusal::TokenMissing);
        };
        if connection.is_dismissed() {
            // Nobody else gets in by a connection that is about to go. Without an answer the client
            // takes its end for a lost transport, and comes back.
            sleep(LONGEST_GRACE).await;
            return Err(Refusal::AuthUnavailable);
        }
        connection.name(socket.id);
        let outlet = self.outlet(socket.id, io, &connection);
        let admission = match self.applicant(&auth, &connection) {
            Ok(applicant) => {
                let admitted = self.node.admit(&applicant, outlet).await;
                admitted.map(|admitted| (applicant, admitted))
            }
            Err(refusal) => Err(refusal),
        };
        match admission {
            Ok((Applicant { user, session, .. }, admitted)) => {
                tracing::debug!(%user, %session, sid = %socket.id, "a socket is in");
                metrics::counter!("sockd_handshakes_total", "answer" => "ok").increment(1);
                socket.extensions.insert(Arc::new(Place(Some(admitted))));
                // The client may send its first event before the connect handler has run.
                socket.on_fallback(ignore);
                Ok(())
            }
            Err(refusal) => {
                tracing::debug!(sid = %socket.id, %refusal, "refused a handshake");
                metrics::counter!("sockd_handshakes_total", "answer" => refusal.to_string())
                    .increment(1);
                match connection.refuse().cmp(&self.limits.handshake_attempts) {
                    Ordering::Less => {}
                    Ordering::Equal => {
                        end_after_grace(&self.lifecycle, connection, Ending::TooManyRefusals);
                    }
                    // It does not even stop to read why.
                    Ordering::Greater => connection.end(Ending::TooManyRefusals),
                }
                Err(refusal)
            }
        }
    }

    fn applicant(
        &self,
        auth: &Map<String, Value>,
        connection: &Connection,
    ) -> Result<Applicant, Refusal> {
        let credentials = &connection.credentials;
        let token = auth_token(auth)
            .or(credentials
                .authorization
                .as_ref()
                .map(|token| token.expose()))
            .or(credentials.query.as_ref().map(|token| token.expose()))
            .ok_or(Refusal::TokenMissing)?;
        let identity = self
            .verifier
            .verify(strip_bearer(token), unix_time())
            .map_err(|error| {
                tracing::debug!(%error, "refused a token");
                Refusal::TokenInvalid
            })?;
        let expires_at = identity
            .expires_at
            .filter(|_| self.on_expiry == OnExpiry::Disconnect);
        Ok(Applicant {
            user: identity.user,
            session: identity.session,
            expires_at,
        })
    }

    fn activate(&self, socket: &SocketRef, io: &SocketIo) {
        let Some(place) = socket.extensions.get::<Arc<Place>>() else {
            return;
        };
        let Some(connection) = socket.req_parts().extensions.get::<Arc<Connection>>() else {
            return;
        };
        if let Some(Err(farewell)) = place.0.as_ref().map(Admitted::activate) {
            self.outlet(socket.id, io.clone(), connection)
                .dismiss(farewell);
        }
    }

    fn outlet(&self, sid: Sid, io: SocketIo, connection: &Arc<Connection>) -> Arc<SocketOutlet> {
        Arc::new(SocketOutlet {
            sid,
            io,
            connection: connection.clone(),
            outbound_buffer: self.limits.outbound_buffer,
            lifecycle: self.lifecycle.clone(),
        })
    }
}

/// What clients send is not for sockd, but it has to be readable.
async fn ignore(socket: SocketRef, content: Content) {
    if let Content::Unreadable = content
        && let Some(connection) = socket.req_parts().extensions.get::<Arc<Connection>>()
    {
        connection.end(Ending::Unreadable);
    }
}

/// An event of a client. The framework has read its name, and no further.
enum Content {
    Readable,
    Unreadable,
}

impl<A: Adapter> FromMessageParts<A> for Content {
    type Error = Infallible;

    fn from_message_parts(
        _: &Arc<Socket<A>>,
        event: &mut handler::Value,
        _: &Option<i64>,
    ) -> Result<Self, Infallible> {
        let is_json = match event {
            handler::Value::Str(text, _) => serde_json::from_str::<IgnoredAny>(text).is_ok(),
            handler::Value::Bytes(_) => false,
        };
        Ok(if is_json {
            Self::Readable
        } else {
            Self::Unreadable
        })
    }
}

fn end_after_grace(lifecycle: &Lifecycle, connection: Arc<Connection>, ending: Ending) {
    lifecycle.spawn(async move {
        let start = Instant::now();
        sleep(GRACE).await;
        while connection.has_queued() && start.elapsed() < LONGEST_GRACE {
            sleep(GRACE / 10).await;
        }
        connection.end(ending);
    });
}

/// The token of the CONNECT's payload; of a list the first entry. What is no text, or blank,
/// counts as not given.
fn auth_token(auth: &Map<String, Value>) -> Option<&str> {
    let token = match auth.get("token")? {
        Value::Array(list) => list.first()?,
        token => token,
    };
    token.as_str().filter(|token| !trim(token).is_empty())
}

/// A socket's place in the hub, kept in the framework's socket. An event on its way may hold the
/// last reference to that socket while the hub is locked, so the place is given up elsewhere.
struct Place(Option<Admitted>);

impl Drop for Place {
    fn drop(&mut self) {
        let admitted = self.0.take();
        // Without a runtime the process is ending, and nothing is on its way.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { drop(admitted) });
        }
    }
}

/// The hub's handle of a Socket.IO socket. It names the socket and does not own it, so that the
/// framework's socket, which owns its place in the hub, is not kept alive by the hub.
struct SocketOutlet {
    sid: Sid,
    io: SocketIo,
    connection: Arc<Connection>,
    outbound_buffer: usize,
    lifecycle: Lifecycle,
}

impl Outlet for SocketOutlet {
    fn send(&self, event: &Event) {
        let Some(socket) = self.io.get_socket(self.sid) else {
            return;
        };
        // `42["name",payload]`, which is what will wait for the client.
        let bytes = event.name.as_str().len() + event.payload.get().len() + 7;
        if !self.connection.enqueue(bytes, self.outbound_buffer) {
            return self.connection.end(Ending::SlowReader);
        }
        match socket.emit(event.name.as_str(), &*event.payload) {
            Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                self.connection.end(Ending::SlowReader);
            }
            Err(error) => tracing::debug!(%error, sid = %self.sid, "an event met a closed socket"),
            Ok(()) => metrics::counter!("sockd_events_sent_total").increment(1),
        }
    }

    fn dismiss(&self, farewell: Farewell) {
        let (name, payload) = match farewell {
            Farewell::SessionReplaced => (EVENT_LOGOUT, r#"{"reason":"SESSION_REPLACED"}"#),
            Farewell::TokenExpired => (EVENT_EXPIRED, r#"{"reason":"TOKEN_EXPIRED"}"#),
        };
        tracing::info!(sid = %self.sid, ?farewell, "dismissing a socket");
        metrics::counter!("sockd_sockets_dismissed_total", "event" => name).increment(1);
        let payload = RawValue::from_string(payload.to_owned()).expect("it is JSON");
        let name = EventName::try_from(name).expect("it is a name");
        self.send(&Event {
            name,
            payload: payload.into(),
        });
        self.connection.dismiss();
        let told = self.io.get_socket(self.sid).map(SocketRef::disconnect);
        if matches!(told, Some(Err(_))) {
            return self.connection.end(Ending::SlowReader);
        }
        end_after_grace(&self.lifecycle, self.connection.clone(), Ending::Dismissed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_token_of_the_payload_is_its_first_text() {
        let token = |auth: Value| auth_token(auth.as_object().unwrap()).map(str::to_owned);
        assert_eq!(token(json!({"token": "a"})), Some("a".to_owned()));
        assert_eq!(token(json!({"token": ["b", "c"]})), Some("b".to_owned()));
        for blank in [
            json!({}),
            json!({"token": " "}),
            json!({"token": 1}),
            json!({"token": [[]]}),
            json!({"token": []}),
        ] {
            assert_eq!(token(blank.clone()), None, "{blank}");
        }
    }
}
