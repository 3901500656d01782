//! A client of the internal API, typed, for our own commands.

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Url, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::{
    id::{EventName, SessionId, UserId},
    secret::Secret,
    wire::{EmitAnswer, EmitRequest, ForceLogoutAnswer, ForceLogoutRequest, SessionsAnswer},
};

/// A host that does not take the connection by then is as good as away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// sockd answers within 10 s even while Redis hangs; the rest is for a slow network.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls the internal routes of one running node.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    http: reqwest::Client,
}

/// How a node is reached. Proxies in the environment are mostly meant for the outside, and not
/// to be shown the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Direct,
    /// Through the proxy of `http_proxy`, `https_proxy` or `all_proxy`, in either case, but for hosts in
    /// `no_proxy`; a node on this machine is called directly all the same.
    EnvironmentProxy,
}

/// Why a call has failed. Neither the secret nor a payload is ever part of the text.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error(
        "{0:?} is not the address of a node; give one such as http://127.0.0.1:3000 by --url or SOCKD_URL"
    )]
    Url(String),
    #[error(
        "the secret for the internal API cannot be sent in a header; it may hold visible ASCII alone"
    )]
    Secret,
    #[error(
        "the HTTP client cannot be set up; see that the system's CA certificates are installed"
    )]
    Setup(#[source] reqwest::Error),
    #[error("no answer from {url}; start sockd there, or name another node by --url or SOCKD_URL")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{url} took the request, but no answer came; it may have been done all the same")]
    NoAnswer {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "{0} does not accept the secret; give the one that it runs with by INTERNAL_SECRET, the configuration or --secret-file"
    )]
    Unauthorized(String),
    #[error("{url} refuses with {status} {code}{}", remedy(.code))]
    Refused {
        url: String,
        status: u16,
        code: String,
    },
    #[error("{url} answers {status}, but not as sockd does; see that --url names a node")]
    Unintelligible { url: String, status: u16 },
}

impl ClientError {
    /// Whether no answer came: every other call may well fail in the same way.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NoAnswer { .. })
    }

    /// Whether the call may have done its work, or a part of it, all the same: the same event sent
    /// again may then come twice.
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            // The sockets of the node that answers have the event, others perhaps not.
            Self::Refused { code, .. } => code == BUS_UNAVAILABLE,
            // A proxy may have lost the answer, or what answers is no sockd at all.
            Self::Unintelligible { status, .. } => *status < 400 || *status >= 500,
            Self::Url(_)
            | Self::Secret
            | Self::Setup(_)
            | Self::Unreachable { .. }
            | Self::Unauthorized(_) => false,
        }
    }
}

const BUS_UNAVAILABLE: &str = "BUS_UNAVAILABLE";

impl Client {
    /// A client of the node at the URL, which may have a path when it is behind a proxy.
    ///
    /// # Errors
    /// A URL that is not plain http or https, or a secret that no header can carry.
    pub fn new(url: &str, secret: &Secret, way: Way) -> Result<Self, ClientError> {
        let base = parse_base(url)?;
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
        let http = builder.build().map_err(ClientError::Setup)?;
        Ok(Self { base, http })
    }

    /// The address of the node, to be told to the person.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
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
    ) -> Result<ForceLogoutAnswer, ClientError> {
        let request = ForceLogoutRequest {
            user_id: user.as_str(),
            session_id: session.as_str(),
        };
        let request = self
            .request(Method::POST, "internal/force-logout")
            .json(&request);
        self.call(request).await
    }

    /// Active sessions in the order of their users, those behind `after` alone; or one user's.
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
            if source.is_connect() {
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
        let ErrorBody { error } = serde_json::from_slice(&body).map_err(|_| unintelligible())?;
        Err(ClientError::Refused {
            url: self.url().to_owned(),
            status: status.as_u16(),
            code: printable(&error),
        })
    }
}

/// An error's body, lenient in the code: a node may be newer than the command.
#[derive(Deserialize)]
struct ErrorBody {
    error: String,
}

/// A code as a terminal may show it: whatever answers could send escape sequences.
fn printable(code: &str) -> String {
    let visible = code.chars().filter(char::is_ascii_graphic);
    visible.take(64).collect()
}

/// What to do about a refusal, in a person's words.
fn remedy(code: &str) -> &'static str {
    match code {
        BUS_UNAVAILABLE => {
            ": Redis is away, so its own sockets have the event, those of other nodes perhaps not; send it again when Redis is back"
        }
        "DRAINING" => ": it is shutting down; ask another node",
        "FORBIDDEN" => ": a proxy adds browser headers (Sec-Fetch-*); call the node directly",
        "INVALID_EVENT" => ": the event is not supported there; see events.supported",
        "INVALID_SESSION_ID" => ": the session id is not of its format; see ids.session",
        "INVALID_USER_ID" => ": the user id is not of its format; see ids.user",
        "LOCAL_ONLY" => ": it runs with --dev, for its own machine only; call it as localhost",
        "NOT_FOUND" => ": it does not know the route; see that it is not older than this command",
        "OVERLOADED" => ": it runs internal.concurrency requests already; try again",
        "PAYLOAD_TOO_LARGE" => ": the payload is too long; see internal.max_body",
        "PEER_TOO_OLD" => {
            ": another node is of a release that cannot do this; its log says which. Upgrade that one first"
        }
        "REDIS_UNAVAILABLE" => ": it does not reach Redis; try again when Redis is back",
        "SESSIONS_IN_REDIS" => {
            ": its sessions are in Redis; leave out --url and set redis.url or REDIS_HOST as it has it"
        }
        _ => "; its log says more",
    }
}

/// The URL with a slash at the end of its path, so that routes can be put behind it.
fn parse_base(url: &str) -> Result<Url, ClientError> {
    let invalid = || ClientError::Url(redacted(url));
    let mut base = Url::parse(url.trim()).map_err(|_| invalid())?;
    let is_plain = base.username().is_empty()
        && base.password().is_none()
        && base.query().is_none()
        && base.fragment().is_none();
    if !is_plain || !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
        return Err(invalid());
    }
    // A server with port 0 lets the system choose, and only its log tells what.
    if base.port() == Some(0) {
        return Err(invalid());
    }
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    Ok(base)
}

/// The URL as given, but for a user and password before its host.
fn redacted(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}://…{}", &url[..scheme], &url[at..])
        }
        _ => url.to_owned(),
    }
}

/// Whether the node is on this machine, where no proxy can have a part in it.
fn is_loopback(url: &Url) -> bool {
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
    fn routes_go_behind_the_path_of_the_url() {
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
    fn what_is_no_address_is_refused_without_showing_a_password() {
        for url in [
            "",
            "127.0.0.1:3000",
            "localhost:3000",
            "ftp://h",
            "http://",
            "http://h/?x",
            "http://127.0.0.1:0",
            "http://user:hunter2@h",
        ] {
            let error = client(url).unwrap_err();
            assert!(matches!(error, ClientError::Url(_)), "{url}: {error}");
            assert!(error.to_string().contains("--url"), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_secret_that_no_header_can_carry_is_refused_and_none_is_shown() {
        let secret = Secret::new("line\nbreak".into());
        let error = Client::new("http://h", &secret, Way::Direct).unwrap_err();
        assert!(matches!(error, ClientError::Secret));
        assert!(!format!("{error:?} {error}").contains("break"));
        let shown = format!("{:?}", client("http://h").unwrap());
        assert!(!shown.contains("s3cret-value"), "{shown}");
    }

    #[test]
    fn loopback_addresses_are_told_from_others() {
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
