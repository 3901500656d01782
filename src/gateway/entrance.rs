//! CONNECT: checks who the client is and whether it may join, and answers it.

use std::sync::Arc;

use metrics::Counter;

use super::{
    capacity::Limit,
    connection::Connection,
    packet::{Auth, Token},
};
use crate::{
    auth::{Identity, TokenVerifier, strip_bearer, unix_time},
    config::OnExpiry,
    hub::Outlet,
    lifecycle::Lifecycle,
    node::Node,
    wire::HandshakeError,
};

/// What the request that opened a connection carried, for a CONNECT without a token.
pub(super) enum Credentials {
    Token(Token),
    /// The token was valid; what it proved is kept instead of it.
    Identity(Identity),
    /// The token was not valid, and is not kept.
    Bad,
}

/// Answers CONNECTs.
pub(super) struct Entrance {
    node: Arc<Node>,
    verifier: TokenVerifier,
    on_expiry: OnExpiry,
    lifecycle: Lifecycle,
    admitted: Counter,
    refused: [(HandshakeError, Counter); 5],
}

impl Entrance {
    pub(super) fn new(
        node: Arc<Node>,
        verifier: TokenVerifier,
        on_expiry: OnExpiry,
        lifecycle: &Lifecycle,
    ) -> Self {
        let counter =
            |answer: String| metrics::counter!("sockd_handshakes_total", "answer" => answer);
        let refusals = [
            HandshakeError::TokenMissing,
            HandshakeError::TokenInvalid,
            HandshakeError::SessionMismatch,
            HandshakeError::AuthUnavailable,
            HandshakeError::TooManySockets,
        ];
        Self {
            node,
            verifier,
            on_expiry,
            lifecycle: lifecycle.clone(),
            admitted: counter("ok".to_owned()),
            refused: refusals.map(|refusal| (refusal, counter(refusal.to_string()))),
        }
    }

    /// Answers a CONNECT, and those that the client sends in the meantime.
    pub(super) fn join(&self, connection: Arc<Connection>, auth: Auth) {
        self.lifecycle.spawn(async move {
            let entrance = &connection.engine().entrance;
            let mut next = Some(auth);
            while let Some(auth) = next {
                next = entrance.answer(&connection, auth).await;
            }
        });
    }

    async fn answer(&self, connection: &Arc<Connection>, auth: Auth) -> Option<Auth> {
        let credentials = connection.take_credentials();
        let is_by_credentials = auth.token.is_none();
        let identity = match (auth.token, &credentials) {
            (Some(token), _) => self.verify(&token),
            (None, Some(credentials)) => self.judge(credentials),
            (None, None) => Err(HandshakeError::TokenMissing),
        };
        let admission = match &identity {
            Ok(identity) => {
                let Identity { user, session, .. } = identity;
                let _under_way = connection.engine().capacity.begin_handshake();
                let admission = self.node.admit(user, session, connection.clone()).await;
                admission.map(|admitted| (identity, admitted))
            }
            Err(refusal) => Err(*refusal),
        };
        let (identity, admitted) = match admission {
            Ok(admission) => admission,
            Err(refusal) => {
                let counter = self.refused.iter().find(|(known, _)| *known == refusal);
                counter.inspect(|(_, counter)| counter.increment(1));
                if refusal == HandshakeError::TooManySockets {
                    connection.engine().capacity.refused(Limit::SocketsPerUser);
                }
                tracing::debug!(sid = %connection.sid(), %refusal, "refused a handshake");
                connection.keep_credentials(credentials);
                return connection.refuse(refusal);
            }
        };
        let Identity {
            user,
            session,
            expires_at,
        } = identity;
        tracing::debug!(%user, %session, sid = %connection.sid(), "a socket is in");
        self.admitted.increment(1);
        connection.keep_credentials(credentials.map(|mut credentials| {
            *credentials = match &*credentials {
                _ if is_by_credentials => Credentials::Identity(identity.clone()),
                unused => match self.judge(unused) {
                    Ok(identity) => Credentials::Identity(identity),
                    Err(_) => Credentials::Bad,
                },
            };
            credentials
        }));
        let expires_at = expires_at.filter(|_| self.on_expiry == OnExpiry::Disconnect);
        if !connection.welcome(expires_at) {
            return None;
        }
        if let Err(farewell) = admitted.activate() {
            connection.dismiss(farewell);
        }
        connection.entered(admitted)
    }

    fn judge(&self, credentials: &Credentials) -> Result<Identity, HandshakeError> {
        match credentials {
            Credentials::Token(token) => self.verify(token),
            Credentials::Identity(identity) => {
                let is_over = identity.expires_at.is_some_and(|at| unix_time() >= at);
                if is_over {
                    return Err(HandshakeError::TokenInvalid);
                }
                Ok(identity.clone())
            }
            Credentials::Bad => Err(HandshakeError::TokenInvalid),
        }
    }

    fn verify(&self, token: &Token) -> Result<Identity, HandshakeError> {
        let token = strip_bearer(token.0.expose());
        self.verifier.verify(token, unix_time()).map_err(|error| {
            tracing::debug!(%error, "refused a token");
            HandshakeError::TokenInvalid
        })
    }
}
