//! A typed client of the internal API, for our own commands.

use std::{error::Error, io, net::IpAddr, path::PathBuf, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Url, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::{
    id::{EventName, SessionId, UserId},
    secret::Secret,
    wire::{
        EmitAnswer, EmitRequest, ForceLogoutRequest, KickRequest, LogoutAnswer, LogoutReason,
        ReloadAnswer, SessionRemovedAnswer, SessionsAnswer, unix_path,
    },
};

/// A host that does not accept a connection within this time counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// sockd answers within 10 s even while Redis hangs; the rest is for a slow network.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls the internal routes of one node.
#[derive(Debug, Clone)]
pub struct Client {
    /// The address as people know it.
    shown: String,
    base: Url,
    http: reqwest::Client,
}

/// How a node is reached. Proxies in the environment are mostly meant for the internet, and should
/// not see the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Direct,
    /// Through the proxy in `http_proxy`, `https_proxy` or `all_proxy`, in lower or upper case, except
    /// for hosts in `no_proxy`. A node on this machine is always called directly.
    EnvironmentProxy,
}

/// Why a call failed. The text never contains the secret or a payload.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error(
        "{0:?} is not the address of a node; give one such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock with --url or SOCKD_URL"
    )]
    Url(String),
    #[error(
        "the secret for the internal API cannot be sent in a header; it may contain only visible ASCII characters"
    )]
    Secret,
    #[error(
        "failed to set up the HTTP client; check that the system's CA certificates are installed"
    )]
    Setup(#[source] reqwest::Error),
    #[error(
        "no answer from {url}; start sockd there, or name another node with --url or SOCKD_URL"
    )]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "this user must not connect to {url}; add it to the socket's group (internal.socket_group), or use sudo"
    )]
    NotAllowed {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{url} received the request but did not answer; it may have been carried out")]
    NoAnswer {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "{0} does not accept the secret; give the one it runs with in INTERNAL_SECRET, the configuration or --secret-file"
    )]
    Unauthorized(String),
    #[error("{url} refuses with {status} {code}{}", remedy(.code))]
    Refused {
        url: String,
        status: u16,
        code: String,
    },
    #[error("{url} keeps its configuration, the new one has mistakes:\n  {}", .problems.join("\n  "))]
    Mistakes { url: String, problems: Vec<String> },
    #[error("{url} answers {status}, but not as sockd does; check that --url names a node")]
    Unintelligible { url: String, status: u16 },
}

impl ClientError {
    /// Whether no answer came, so that other calls will probably fail in the same way.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::NotAllowed { .. } | Self::NoAnswer { .. }
        )
    }

    /// Whether the call may have taken effect, at least in part: an event that is sent again may then
    /// arrive twice.
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            // The sockets of the node that answered have the event; others may not.
            Self::Refused { code, .. } => code == BUS_UNAVAILABLE,
            // A proxy may have lost the answer, or the server may not be sockd.
            Self::Unintelligible { status, .. } => *status < 400 || *status >= 500,
            Self::Url(_)
            | Self::Secret
            | Self::Setup(_)
            | Self::Unreachable { .. }
            | Self::NotAllowed { .. }
            | Self::Unauthorized(_)
            | Self::Mistakes { .. } => false,
        }
    }
}

const BUS_UNAVAILABLE: &str = "BUS_UNAVAILABLE";

impl Client {
    /// A client of the node at the URL, which may have a path when it is behind a proxy, or at a
    /// unix socket (`unix:/path`).
    ///
    /// # Errors
    /// A URL that is none of http, https and unix, or a secret that no header can carry.
    pub fn new(url: &str, secret: &Secret, way: Way) -> Result<Self, ClientError> {
        let Address {
            shown,
            base,
            socket,
        } = Address::parse(url)?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", secret.expose()))
            .map_err(|_| ClientError::Secret)?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization);
        headers.insert("prefer", HeaderValue::from_static("return=representation"));

        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("sockd/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            // A redirect could carry the secret to a stranger.
            .redirect(redirect::Policy::none());
        if way == Way::Direct || is_loopback(&base) {
            builder = builder.no_proxy();
        }
        if base.scheme() == "http" {
            // Plain HTTP must work where no CA certificates are installed.
            builder = builder.tls_certs_only([]);
        }
        if let Some(socket) = socket {
            builder = builder.unix_socket(socket);
        }
        let http = builder.build().map_err(ClientError::Setup)?;
        Ok(Self { shown, base, http })
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
        self.call(request).await
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
        self.call(request).await
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
        self.call(request).await
    }

    /// Removes the user's stored session.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_session(&self, user: &UserId) -> Result<SessionRemovedAnswer, ClientError> {
        let mut url = self.endpoint("internal/users");
        url.path_segments_mut()
            .expect("an http URL has a path")
            .extend([user.as_str(), "session"]);
        self.call(self.http.delete(url)).await
    }

    /// Lets the node read its configuration again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reload(&self) -> Result<ReloadAnswer, ClientError> {
        let request = self.request(Method::POST, "internal/reload");
        self.call(request).await
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
        self.call(self.http.get(url)).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.endpoint(path))
    }

    fn endpoint(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        let no_answer = |source: reqwest::Error| {
            let (url, source) = (self.url().to_owned(), source.without_url());
            if unix_path(&url).is_some() && is_permission_denied(&source) {
                ClientError::NotAllowed { url, source }
            } else if source.is_connect() {
                ClientError::Unreachable { url, source }
            } else {
                ClientError::NoAnswer { url, source }
            }
        };
        let response = request.send().await.map_err(no_answer)?;
        let status = response.status();
        let body = response.bytes().await.map_err(no_answer)?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(ClientError::Unauthorized(self.url().to_owned()));
        }
        let unintelligible = || ClientError::Unintelligible {
            url: self.url().to_owned(),
            status: status.as_u16(),
        };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| unintelligible());
        }
        let ErrorBody { error, problems } =
            serde_json::from_slice(&body).map_err(|_| unintelligible())?;
        if !problems.is_empty() {
            let url = self.url().to_owned();
            let visible = |text: &String| text.chars().filter(|c| !c.is_control()).collect();
            let problems = problems.iter().map(visible).collect();
            return Err(ClientError::Mistakes { url, problems });
        }
        Err(ClientError::Refused {
            url: self.url().to_owned(),
            status: status.as_u16(),
            code: printable(&error),
        })
    }
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

/// What to do about a refusal.
fn remedy(code: &str) -> &'static str {
    match code {
        BUS_UNAVAILABLE => {
            ": it could not reach every node, so it is done for its own sockets, but may not be for those of other nodes; do it again when Redis is back"
        }
        "DRAINING" => ": it is shutting down; ask another node",
        "FORBIDDEN" => ": a proxy adds browser headers (Sec-Fetch-*); call the node directly",
        "INVALID_CONFIGURATION" => ": its configuration has mistakes; its log lists them",
        "INVALID_EVENT" => ": the event is not supported there; see events.supported",
        "INVALID_SESSION_ID" => {
            ": the session id does not have the configured format; see ids.session"
        }
        "INVALID_USER_ID" => ": the user id does not have the configured format; see ids.user",
        "LOCAL_ONLY" => ": it runs with --dev, for its own machine only; call it as localhost",
        "NOT_FOUND" => ": it does not know the route; check that it is not older than this command",
        "OVERLOADED" => ": it already handles internal.concurrency requests; try again",
        "PAYLOAD_TOO_LARGE" => ": the payload is too long; see internal.max_body",
        "PEER_TOO_OLD" => {
            ": another node runs a release that cannot do this; upgrade the one that its log names first"
        }
        "REDIS_UNAVAILABLE" => ": it cannot reach Redis; try again when Redis is back",
        "SESSIONS_IN_REDIS" => {
            ": its sessions are in Redis; leave out --url, and set redis.url or REDIS_HOST to the same Redis"
        }
        _ => "; its log says more",
    }
}

/// Whether the system forbids this user to connect.
fn is_permission_denied(error: &reqwest::Error) -> bool {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::PermissionDenied;
        }
        source = error.source();
    }
    false
}

/// Where a node is.
struct Address {
    /// For people.
    shown: String,
    /// With a slash at the end of its path, so that routes can be appended.
    base: Url,
    /// The unix socket to connect to, whatever the host of the URL.
    socket: Option<PathBuf>,
}

impl Address {
    fn parse(text: &str) -> Result<Self, ClientError> {
        let invalid = || ClientError::Url(redacted(text));
        let trimmed = text.trim();
        let socket = unix_path(trimmed).map(PathBuf::from);
        let url = match socket {
            // A node with `--dev` answers only requests to this machine.
            Some(_) => "http://localhost/",
            None => trimmed,
        };
        let mut base = Url::parse(url).map_err(|_| invalid())?;
        let is_plain = base.username().is_empty()
            && base.password().is_none()
            && base.query().is_none()
            && base.fragment().is_none();
        if !is_plain || !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(invalid());
        }
        // With port 0 the system chooses, and only the log of the server says which.
        if base.port() == Some(0) {
            return Err(invalid());
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let shown = match &socket {
            Some(path) => format!("unix:{}", path.display()),
            None => base.as_str().trim_end_matches('/').to_owned(),
        };
        Ok(Self {
            shown,
            base,
            socket,
        })
    }
}

/// The URL without a user and password before its host.
fn redacted(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}://…{}", &url[..scheme], &url[at..])
        }
        _ => url.to_owned(),
    }
}

/// Whether the node is on this machine, where no proxy could reach it.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Result<Client, ClientError> {
        Client::new(url, &Secret::new("s3cret-value".into()), Way::Direct)
    }

    #[test]
    fn routes_are_appended_to_the_path_of_the_url() {
        for (url, expected) in [
            (
                "http://127.0.0.1:3000",
                "http://127.0.0.1:3000/internal/emit",
            ),
            ("http://h/", "http://h/internal/emit"),
            ("https://h/push", "https://h/push/internal/emit"),
            ("http://[::1]:9/a/", "http://[::1]:9/a/internal/emit"),
        ] {
            let endpoint = client(url).unwrap().endpoint("internal/emit");
            assert_eq!(endpoint.as_str(), expected);
        }
    }

    #[test]
    fn a_unix_socket_is_shown_as_it_is_and_called_as_localhost() {
        for url in [
            "unix:/run/s.sock",
            "unix:///run/s.sock",
            " unix:/run/s.sock ",
        ] {
            let client = client(url).unwrap();
            assert_eq!(client.url(), "unix:/run/s.sock");
            let endpoint = client.endpoint("internal/emit");
            assert_eq!(endpoint.as_str(), "http://localhost/internal/emit");
        }
    }

    #[test]
    fn an_invalid_url_is_refused_without_showing_its_password() {
        for url in [
            "",
            "127.0.0.1:3000",
            "localhost:3000",
            "ftp://h",
            "http://",
            "http://h/?x",
            "http://127.0.0.1:0",
            "http://user:hunter2@h",
            "unix:",
            "/run/sockd/internal.sock",
        ] {
            let error = client(url).unwrap_err();
            assert!(matches!(error, ClientError::Url(_)), "{url}: {error}");
            assert!(error.to_string().contains("--url"), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_secret_that_cannot_be_a_header_is_refused_and_never_shown() {
        let secret = Secret::new("line\nbreak".into());
        let error = Client::new("http://h", &secret, Way::Direct).unwrap_err();
        assert!(matches!(error, ClientError::Secret));
        assert!(!format!("{error:?} {error}").contains("break"));
        let shown = format!("{:?}", client("http://h").unwrap());
        assert!(!shown.contains("s3cret-value"), "{shown}");
    }

    #[test]
    fn loopback_addresses_are_recognised() {
        for (url, expected) in [
            ("http://127.3.2.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("http://127.example.org", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
