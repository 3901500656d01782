//! A typed client of the internal API, for our own commands.

mod address;
mod error;
mod lines;
mod relay;
mod tls;
mod way;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Url;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use self::address::Address;
pub(crate) use self::relay::Relay;
pub use self::{
    error::{Call, ClientError, is_tls_error},
    lines::Lines,
    tls::Tls,
    way::Way,
};
use crate::{
    id::{EventName, SessionId, UserId},
    secret::Secret,
    wire::{
        DrainAnswer, DrainRequest, EmitAnswer, EmitRequest, ForceLogoutRequest, KickRequest,
        LogoutAnswer, LogoutReason, ReloadAnswer, SessionRemovedAnswer, SessionsAnswer, Share,
        StatusAnswer, UserAnswer,
    },
};

/// A host that does not accept a connection within this time counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// sockd responds within 10 s even while Redis hangs; the rest is for a slow network.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls the internal routes of one node.
#[derive(Debug, Clone)]
pub struct Client {
    /// The address as people know it.
    shown: String,
    base: Url,
    /// One for each secret, the newest first.
    authorizations: Arc<[HeaderValue]>,
    /// Which of them the node accepted last.
    accepted: Arc<AtomicUsize>,
    http: reqwest::Client,
    /// What `http` connects to, if not to the node.
    relay: Option<Arc<Relay>>,
}

impl Client {
    /// A client of the node at the URL, which may have a path if it is behind a proxy, or at a
    /// unix socket (`unix:/path`). Of several secrets each is tried until the node accepts one: while
    /// a secret is being replaced, the node may still run with the previous one.
    ///
    /// # Errors
    /// A URL that is none of http, https and unix, or a secret that no header can carry.
    pub fn new(url: &str, secrets: &[Secret], way: Way, tls: &Tls) -> Result<Self, ClientError> {
        let Address {
            shown,
            base,
            socket,
        } = Address::parse(url)?;
        let authorizations = secrets
            .iter()
            .map(authorization)
            .collect::<Result<_, _>>()?;
        let mut headers = HeaderMap::new();
        headers.insert("prefer", HeaderValue::from_static("return=representation"));

        let mut builder = way
            .client(&base, tls)
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT);
        let relay = match way {
            Way::WithProxyHeader => {
                let relay = Relay::start(&base, socket.clone()).map_err(ClientError::Relay)?;
                Some(Arc::new(relay))
            }
            Way::Direct | Way::EnvironmentProxy => None,
        };
        let socket = relay.as_ref().map(|relay| relay.socket()).or(socket);
        if let Some(socket) = socket {
            builder = builder.unix_socket(socket);
        }
        let http = builder.build().map_err(ClientError::Setup)?;
        Ok(Self {
            shown,
            base,
            authorizations,
            accepted: Arc::default(),
            http,
            relay,
        })
    }

    /// The address of the node, for messages.
    pub fn url(&self) -> &str {
        &self.shown
    }

    /// Pushes an event to a user's sockets; without a payload they get `null`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn emit(
        &self,
        user: &UserId,
        event: &EventName,
        payload: Option<&RawValue>,
    ) -> Result<EmitAnswer, ClientError> {
        let request = EmitRequest {
            user_id: user.as_str(),
            event: event.as_str(),
            payload,
        };
        let request = self.request(Method::POST, "internal/emit").json(&request);
        self.call(Call::Emit, request).await
    }

    /// Makes the session the user's only one and closes all sockets of others.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn force_logout(
        &self,
        user: &UserId,
        session: &SessionId,
    ) -> Result<LogoutAnswer, ClientError> {
        let request = ForceLogoutRequest {
            user_id: user.as_str(),
            session_id: session.as_str(),
        };
        let request = self
            .request(Method::POST, "internal/force-logout")
            .json(&request);
        self.call(Call::ForceLogout, request).await
    }

    /// Closes all sockets of the user; `invalidates_session` keeps their tokens from coming back.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn kick(
        &self,
        user: &UserId,
        reason: Option<&LogoutReason>,
        invalidates_session: bool,
    ) -> Result<LogoutAnswer, ClientError> {
        let request = KickRequest {
            user_id: user.as_str(),
            reason,
            invalidate_session: invalidates_session,
        };
        let request = self.request(Method::POST, "internal/kick").json(&request);
        self.call(Call::Kick, request).await
    }

    /// Returns the user's session and sockets, on all nodes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn user(&self, user: &UserId) -> Result<UserAnswer, ClientError> {
        self.call(
            Call::Read,
            self.http.get(self.of_user("internal/user", user)),
        )
        .await
    }

    /// Follows what happens to the user, on all nodes, until the result is dropped.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn trace(&self, user: &UserId, payloads: bool) -> Result<Lines, ClientError> {
        let mut url = self.of_user("internal/user/trace", user);
        if payloads {
            url.query_pairs_mut().append_pair("payloads", "true");
        }
        // It has no end; what is late is noticed line by line.
        let request = self.http.get(url).timeout(Duration::MAX);
        let response = self.answer(Call::Read, request).await?;
        Ok(Lines::new(self.url().to_owned(), response))
    }

    /// Returns the status of the node, or with `all` of every node.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self, all: bool) -> Result<StatusAnswer, ClientError> {
        let mut url = self.endpoint("internal/status");
        if all {
            url.query_pairs_mut().append_pair("all", "true");
        }
        self.call(Call::Read, self.http.get(url)).await
    }

    /// Removes the user's stored session.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_session(&self, user: &UserId) -> Result<SessionRemovedAnswer, ClientError> {
        let url = self.of_user("internal/user/session", user);
        self.call(Call::RemoveSession, self.http.delete(url)).await
    }

    /// Closes a share of the node's connections, spread over a time, so that their clients come back on
    /// other nodes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn drain(&self, share: Share, over: Duration) -> Result<DrainAnswer, ClientError> {
        let request = DrainRequest {
            share,
            over_seconds: over.as_secs_f64(),
        };
        let request = self.request(Method::POST, "internal/drain").json(&request);
        self.call(Call::Drain, request).await
    }

    /// Lets the node read its configuration again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reload(&self) -> Result<ReloadAnswer, ClientError> {
        let request = self.request(Method::POST, "internal/reload");
        self.call(Call::Reload, request).await
    }

    /// Returns active sessions in the order of their users, only those after `after`; or one user's.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sessions(
        &self,
        after: Option<&str>,
        limit: usize,
        user: Option<&UserId>,
    ) -> Result<SessionsAnswer, ClientError> {
        let mut url = self.endpoint("internal/sessions");
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("limit", &limit.to_string());
            if let Some(after) = after {
                query.append_pair("after", after);
            }
            if let Some(user) = user {
                query.append_pair("user", user.as_str());
            }
        }
        self.call(Call::Read, self.http.get(url)).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.endpoint(path))
    }

    fn endpoint(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    /// The URL of a route with the id in its query: a path cannot carry every id.
    fn of_user(&self, path: &str, user: &UserId) -> Url {
        let mut url = self.endpoint(path);
        url.query_pairs_mut().append_pair("id", user.as_str());
        url
    }

    /// Sends the request with one secret after the other until the node accepts one. A node that
    /// refuses the secret has not read the request.
    async fn send(
        &self,
        request: &reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, reqwest::Error> {
        let count = self.authorizations.len();
        let first = self.accepted.load(Relaxed);
        let mut attempts = 0;
        loop {
            let at = (first + attempts) % count;
            attempts += 1;
            let attempt = request.try_clone().expect("the body is in memory");
            let authorization = self.authorizations[at].clone();
            let attempt = attempt.header(header::AUTHORIZATION, authorization);
            let response = attempt.send().await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                self.accepted.store(at, Relaxed);
                return Ok(response);
            }
            if attempts == count {
                return Ok(response);
            }
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        call: Call,
        request: reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        let response = self.answer(call, request).await?;
        let status = response.status();
        let body = response.bytes().await;
        let body = body.map_err(|source| ClientError::of_request(call, self.url(), source))?;
        serde_json::from_slice(&body).map_err(|_| self.unintelligible(status))
    }

    /// Sends the request, and returns the response if the node has done what it was asked.
    async fn answer(
        &self,
        call: Call,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, ClientError> {
        if let Some(relay) = &self.relay {
            let reached = relay.reach(CONNECT_TIMEOUT).await;
            reached.map_err(|source| ClientError::unreachable(self.url(), source))?;
        }
        let response = self.send(&request).await;
        let response =
            response.map_err(|source| ClientError::of_request(call, self.url(), source))?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(ClientError::Unauthorized(self.url().to_owned()));
        }
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await;
        let body = body.map_err(|source| ClientError::of_request(call, self.url(), source))?;
        let ErrorBody { error, problems } =
            serde_json::from_slice(&body).map_err(|_| self.unintelligible(status))?;
        if !problems.is_empty() {
            let url = self.url().to_owned();
            let visible = |text: &String| text.chars().filter(|c| !c.is_control()).collect();
            let problems = problems.iter().map(visible).collect();
            return Err(ClientError::Mistakes { url, problems });
        }
        Err(ClientError::Refused {
            url: self.url().to_owned(),
            call,
            status: status.as_u16(),
            code: printable(&error),
        })
    }

    fn unintelligible(&self, status: StatusCode) -> ClientError {
        ClientError::Unintelligible {
            url: self.url().to_owned(),
            status: status.as_u16(),
        }
    }
}

/// The header that carries the secret.
fn authorization(secret: &Secret) -> Result<HeaderValue, ClientError> {
    if let Some(why) = secret.unsendable() {
        return Err(ClientError::Secret(why));
    }
    // Not only ASCII: sockd reads it as UTF-8.
    let text = format!("Bearer {}", secret.expose());
    let mut value = HeaderValue::try_from(text.into_bytes()).expect("it can be sent");
    value.set_sensitive(true);
    Ok(value)
}

/// The body of an error. Its code may be unknown, since a node may be newer than the command.
#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    #[serde(default)]
    problems: Vec<String>,
}

/// A code that is safe to print: an unknown server could send escape sequences.
fn printable(code: &str) -> String {
    let visible = code.chars().filter(char::is_ascii_graphic);
    visible.take(64).collect()
}

#[cfg(test)]
mod tests;
