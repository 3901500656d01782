//! CONNECT: checks who the client is and whether it may join, and answers it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    capacity::Limit,
    connection::Connection,
    packet::{Auth, Token},
};
use crate::{
    auth::{Identity, TokenError, TokenVerifier, unix_time},
    config::OnExpiry,
    hub::Outlet,
    metrics::{Counter, HANDSHAKE_DURATION, HANDSHAKES, Histogram},
    node::{DECISION_LIMIT, Node},
    trace::Traces,
    wire::{HandshakeError, Step},
};

/// How long a handshake may wait for its token's key; the rest of its time is for the session.
const KEY_LIMIT: Duration = Duration::from_millis(1_500);

/// What the request that opened a connection carried, for a CONNECT without a token.
pub(super) enum Credentials {
    Token(Token),
    /// The token was valid; what it proved is kept in its place.
    Identity(Identity),
    /// The token was not valid, and is not kept.
    Bad,
}

/// Answers CONNECTs.
pub(super) struct Entrance {
    node: Arc<Node>,
    admitted: HandshakeMeters,
    refused: [HandshakeMeters; HandshakeError::ALL.len()],
}

/// The metrics of handshakes with one outcome.
struct HandshakeMeters {
    count: Counter,
    duration: Histogram,
}

impl HandshakeMeters {
    fn new(answer: &str) -> Self {
        Self {
            count: HANDSHAKES.with_label_values(&[answer]),
            duration: HANDSHAKE_DURATION.with_label_values(&[answer]),
        }
    }

    fn record(&self, since: Instant) {
        self.count.inc();
        self.duration.observe(since.elapsed().as_secs_f64());
    }
}

impl Entrance {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            admitted: HandshakeMeters::new("ok"),
            refused: HandshakeError::ALL.map(|refusal| HandshakeMeters::new(refusal.label())),
        }
    }

    /// Answers a CONNECT, and those that the client sends in the meantime.
    pub(super) fn join(&self, connection: Arc<Connection>, auth: Auth) {
        let engine = connection.engine().clone();
        engine.lifecycle.spawn(async move {
            let entrance = &connection.engine().entrance;
            let mut next = Some(auth);
            while let Some(auth) = next {
                next = entrance.answer(&connection, auth).await;
            }
        });
    }

    async fn answer(&self, connection: &Arc<Connection>, auth: Auth) -> Option<Auth> {
        let settings = connection.engine().current.get();
        let verifier = &settings.verifier;
        let credentials = connection.take_credentials();
        let is_by_credentials = auth.token.is_none();
        let began = Instant::now();
        let in_progress = connection.engine().capacity.begin_handshake();
        let identity = match (&auth.token, &credentials) {
            (Some(token), _) => verify(token, verifier, began).await,
            (None, Some(credentials)) => judge(credentials, verifier, began).await,
            (None, None) => Err(HandshakeError::TokenMissing),
        };
        let admission = match &identity {
            Ok(identity) => {
                let Identity { user, session, .. } = identity;
                let deadline = began + DECISION_LIMIT;
                let outlet = connection.clone();
                let admission = self
                    .node
                    .admit(
                        user,
                        session,
                        outlet,
                        deadline,
                        settings.limits.sockets_per_user,
                    )
                    .await;
                admission.map(|admitted| (identity, admitted))
            }
            Err(refusal) => Err(*refusal),
        };
        drop(in_progress);
        let (identity, admitted) = match admission {
            Ok(admission) => admission,
            Err(refusal) => {
                let is_told = connection.refuse(refusal);
                self.trace_refusal(
                    connection,
                    &identity,
                    &auth,
                    credentials.as_deref(),
                    (refusal, is_told),
                );
                connection.keep_credentials(credentials);
                if is_told {
                    self.count_refusal(connection, refusal, began);
                }
                return connection.next_auth();
            }
        };
        connection.keep_credentials(credentials.map(|mut credentials| {
            if is_by_credentials {
                *credentials = Credentials::Identity(identity.clone());
            } else if let Some(judged) = judge_unused(&credentials, verifier) {
                *credentials = judged;
            }
            credentials
        }));
        let is_limited = settings.on_expiry == OnExpiry::Disconnect;
        let expires_at = identity.expires_at.filter(|_| is_limited);
        if !connection.welcome(identity, expires_at) {
            return None;
        }
        self.admitted.record(began);
        let Identity { user, session, .. } = identity;
        let address = connection.address().map(tracing::field::display);
        tracing::debug!(%user, %session, sid = %connection.sid(), address, "a socket has joined");
        if let Err(farewell) = admitted.activate() {
            connection.dismiss(&farewell);
        }
        connection.entered(admitted)
    }

    pub(super) fn traces(&self) -> &Traces {
        self.node.traces()
    }

    /// Traces a refusal if its user is known, which takes a valid signature.
    fn trace_refusal(
        &self,
        connection: &Connection,
        identity: &Result<Identity, HandshakeError>,
        auth: &Auth,
        credentials: Option<&Credentials>,
        (refusal, is_told): (HandshakeError, bool),
    ) {
        if !self.traces().is_active() {
            return;
        }
        let verifier = &connection.engine().current.get().verifier;
        let (user, why) = match (identity, &auth.token, credentials) {
            (Ok(identity), _, _) => (Some(identity.user.clone()), None),
            (Err(_), Some(token), _) | (Err(_), None, Some(Credentials::Token(token))) => {
                let token = token.0.expose();
                let why = verifier.verify(token, unix_time()).err();
                (verifier.user_of(token), why.map(|why| why.to_string()))
            }
            (Err(_), None, Some(Credentials::Identity(identity))) => {
                let why = "the token that opened the connection has expired, or its key is gone";
                (Some(identity.user.clone()), Some(why.to_owned()))
            }
            (Err(_), None, Some(Credentials::Bad) | None) => (None, None),
        };
        if let Some(user) = user {
            self.traces().record(&user, || Step::Refused {
                reason: refusal.to_string(),
                why,
                address: connection.shown_address(),
                gone: !is_told,
            });
        }
    }

    /// Counts a refusal that the client was told.
    fn count_refusal(&self, connection: &Connection, refusal: HandshakeError, began: Instant) {
        self.refused[refusal as usize].record(began);
        if refusal == HandshakeError::TooManySockets {
            let capacity = &connection.engine().capacity;
            capacity.refused(Limit::SocketsPerUser, connection.address());
        }
        let address = connection.address().map(tracing::field::display);
        tracing::debug!(sid = %connection.sid(), address, %refusal, "refused a handshake");
    }
}

async fn judge(
    credentials: &Credentials,
    verifier: &TokenVerifier,
    began: Instant,
) -> Result<Identity, HandshakeError> {
    match credentials {
        Credentials::Token(token) => verify(token, verifier, began).await,
        Credentials::Identity(identity) => {
            let is_over = identity.expires_at.is_some_and(|at| unix_time() >= at);
            let is_gone = identity.key.is_some_and(|key| !verifier.has(key));
            if is_over || is_gone {
                return Err(HandshakeError::TokenInvalid);
            }
            Ok(identity.clone())
        }
        Credentials::Bad => Err(HandshakeError::TokenInvalid),
    }
}

/// Verifies a token that was not used, so that the token can be dropped; `None` if it cannot be verified
/// now.
fn judge_unused(credentials: &Credentials, verifier: &TokenVerifier) -> Option<Credentials> {
    let Credentials::Token(token) = credentials else {
        return None;
    };
    match verifier.verify(token.0.expose(), unix_time()) {
        Ok(identity) => Some(Credentials::Identity(identity)),
        Err(TokenError::NoKeySet) => None,
        Err(_) => Some(Credentials::Bad),
    }
}

async fn verify(
    token: &Token,
    verifier: &TokenVerifier,
    began: Instant,
) -> Result<Identity, HandshakeError> {
    let verified = verifier.verify_by(token.0.expose(), unix_time(), began + KEY_LIMIT);
    verified.await.map_err(|error| {
        tracing::debug!(%error, "refused a token");
        if error.is_temporary() {
            HandshakeError::AuthUnavailable
        } else {
            HandshakeError::TokenInvalid
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::{
        auth::mint::{Claims, TokenMinter},
        config::Auth as AuthConfig,
        gateway::{
            connection::{Ending, tests::joining},
            tests::{config, engine},
        },
        id::{SessionId, UserId},
    };

    fn user() -> UserId {
        UserId::try_from("0123456789abcdef01234567").expect("an id")
    }

    fn token(auth: &AuthConfig, ttl: Option<Duration>) -> String {
        let user = user();
        let session = "3f2b8c1e-5a4d-4e6f-8a9b-0c1d2e3f4a5b";
        let session = SessionId::try_from(session).expect("an id");
        let minter = TokenMinter::new(auth, &auth.secrets[0], None).expect("a key");
        let claims = Claims {
            user: &user,
            session: &session,
            issued_at: unix_time() - 10,
            ttl,
            extra: &Map::new(),
        };
        minter.mint(&claims).expect("a token")
    }

    /// No other test in this process is admitted, or refused for a missing token.
    #[tokio::test]
    async fn only_handshakes_whose_outcome_reaches_the_client_are_counted() {
        let engine = engine();
        let entrance = &engine.entrance;
        let token = token(&config().auth, None);
        let counts = || {
            let refused = &entrance.refused[HandshakeError::TokenMissing as usize];
            (entrance.admitted.count.get(), refused.count.get())
        };
        let before = counts();
        for (token, is_gone, admitted, refused) in [
            (Token::new(&token), true, 0, 0),
            (Token::new(&token), false, 1, 0),
            (None, true, 1, 0),
            (None, false, 1, 1),
        ] {
            let connection = joining(&engine);
            if is_gone {
                connection.end(Ending::Draining);
            }
            assert_eq!(entrance.answer(&connection, Auth { token }).await, None);
            let after = counts();
            let counted = (after.0 - before.0, after.1 - before.1);
            assert_eq!(counted, (admitted, refused), "gone: {is_gone}");
        }
    }

    #[tokio::test]
    async fn a_trace_says_whether_a_refused_client_was_already_gone() {
        let engine = engine();
        let entrance = &engine.entrance;
        let trace = entrance.node.traces().begin(&user(), false);
        let trace = trace.expect("room");
        let expired = token(&config().auth, Some(Duration::from_secs(1)));
        for is_gone in [false, true] {
            let connection = joining(&engine);
            if is_gone {
                connection.end(Ending::Draining);
            }
            let auth = Auth {
                token: Token::new(&expired),
            };
            assert_eq!(entrance.answer(&connection, auth).await, None);
            let lines = trace.queue.take_now(usize::MAX).lines;
            let refused = lines.iter().find(|line| line.contains("TOKEN_INVALID"));
            let refused = refused.expect("a refusal");
            assert_eq!(refused.contains("\"gone\":true"), is_gone, "{refused}");
        }
    }
}
