//! What a request to the Socket.IO endpoint asks for, judged as Engine.IO's own server does.

use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use socketioxide::socket::Sid;
use std::fmt;

use super::connection::Credentials;
use crate::{auth::trim, secret::Secret};

/// Why Engine.IO refuses a request, as `{"code":N,"message":"…"}` with status 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EngineError {
    TransportUnknown,
    SessionIdUnknown,
    BadHandshakeMethod,
    BadRequest,
    UnsupportedProtocolVersion,
}

impl EngineError {
    pub(super) fn body(self) -> String {
        let (code, message) = match self {
            Self::TransportUnknown => (0, "Transport unknown"),
            Self::SessionIdUnknown => (1, "Session ID unknown"),
            Self::BadHandshakeMethod => (2, "Bad handshake method"),
            Self::BadRequest => (3, "Bad request"),
            Self::UnsupportedProtocolVersion => (5, "Unsupported protocol version"),
        };
        format!(r#"{{"code":{code},"message":"{message}"}}"#)
    }

    /// The status that all of these have.
    pub(super) const STATUS: StatusCode = StatusCode::BAD_REQUEST;
}

/// What a well-formed request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Open a connection that polls.
    Open,
    /// Wait for what there is for the client.
    Poll(Sid),
    /// Take what the client sends.
    Post(Sid),
    /// Open a WebSocket, for a new connection or one that polls so far.
    WebSocket(Option<Sid>),
}

/// The request's query, each key with its first value.
#[derive(Debug, Default)]
struct Query {
    eio: Option<String>,
    transport: Option<String>,
    sid: Option<String>,
    token: Option<String>,
}

impl Query {
    fn of(uri: &Uri) -> Self {
        let mut query = Self::default();
        for (key, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        {
            let slot = match &*key {
                "EIO" => &mut query.eio,
                "transport" => &mut query.transport,
                "sid" => &mut query.sid,
                "token" => &mut query.token,
                _ => continue,
            };
            slot.get_or_insert_with(|| value.into_owned());
        }
        query
    }
}

/// Judges a request in the order of Engine.IO's server: transport, session, method, version.
///
/// # Errors
/// What is wrong with the request.
pub(super) fn parse<B>(
    request: &Request<B>,
    is_known: impl FnOnce(Sid) -> bool,
) -> Result<Asked, EngineError> {
    let query = Query::of(request.uri());
    let websocket = match query.transport.as_deref() {
        Some("websocket") => true,
        Some("polling") => false,
        _ => return Err(EngineError::TransportUnknown),
    };
    let sid = match &query.sid {
        Some(text) => {
            let sid = text.parse().ok().filter(|sid| is_known(*sid));
            Some(sid.ok_or(EngineError::SessionIdUnknown)?)
        }
        None => None,
    };
    if sid.is_none() && request.method() != Method::GET {
        return Err(EngineError::BadHandshakeMethod);
    }
    if websocket != is_upgrade(request.headers()) {
        return Err(EngineError::BadRequest);
    }
    if sid.is_none() && query.eio.as_deref() != Some("4") {
        return Err(EngineError::UnsupportedProtocolVersion);
    }
    match (sid, request.method()) {
        (sid, &Method::GET) if websocket => Ok(Asked::WebSocket(sid)),
        (None, _) => Ok(Asked::Open),
        (Some(sid), &Method::GET) => Ok(Asked::Poll(sid)),
        (Some(sid), &Method::POST) => Ok(Asked::Post(sid)),
        _ => Err(EngineError::BadRequest),
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The tokens that a request carries; the handshake looks at them later.
pub(super) fn credentials<B>(request: &Request<B>) -> Credentials {
    let secret = |text: String| (!trim(&text).is_empty()).then(|| Secret::new(text));
    let authorization = request.headers().get(header::AUTHORIZATION);
    Credentials {
        authorization: authorization
            .and_then(|value| secret(String::from_utf8_lossy(value.as_bytes()).into_owned())),
        query: Query::of(request.uri()).token.and_then(secret),
    }
}

impl Asked {
    /// The request's address as the framework wants it, without anything else of the client's.
    pub(super) fn uri(self) -> Uri {
        let (transport, sid) = match self {
            Self::Open => ("polling", None),
            Self::Poll(sid) | Self::Post(sid) => ("polling", Some(sid)),
            Self::WebSocket(sid) => ("websocket", sid),
        };
        let sid = sid.map_or(String::new(), |sid| format!("&sid={sid}"));
        let text = format!("{}?EIO=4&transport={transport}{sid}", super::PATH);
        text.parse()
            .expect("a session id has no special characters")
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Poll(_) => "poll",
            Self::Post(_) => "post",
            Self::WebSocket(None) => "websocket",
            Self::WebSocket(Some(_)) => "upgrade",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(method: &str, query: &str, upgrade: bool) -> Result<Asked, EngineError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/socket.io/{query}"));
        if upgrade {
            request = request.header("upgrade", "WebSocket");
        }
        parse(&request.body(()).unwrap(), |_| true)
    }

    #[test]
    fn requests_are_judged_as_engine_io_judges_them() {
        use EngineError::*;
        assert_eq!(judge("GET", "", false), Err(TransportUnknown));
        assert_eq!(
            judge("GET", "?EIO=4&transport=carrier-pigeon", false),
            Err(TransportUnknown)
        );
        assert_eq!(
            judge("GET", "?transport=polling&sid=%21", false),
            Err(SessionIdUnknown)
        );
        assert_eq!(
            judge("POST", "?EIO=4&transport=polling", false),
            Err(BadHandshakeMethod)
        );
        assert_eq!(
            judge("GET", "?EIO=4&transport=websocket", false),
            Err(BadRequest)
        );
        assert_eq!(
            judge("GET", "?EIO=4&transport=polling", true),
            Err(BadRequest)
        );
        assert_eq!(
            judge("GET", "?EIO=3&transport=polling", false),
            Err(UnsupportedProtocolVersion)
        );
        assert_eq!(
            judge("GET", "?transport=websocket", true),
            Err(UnsupportedProtocolVersion)
        );
        assert_eq!(
            judge("GET", "?EIO=4&transport=polling&t=x", false),
            Ok(Asked::Open)
        );
        assert_eq!(
            judge("GET", "?EIO=4&transport=websocket", true),
            Ok(Asked::WebSocket(None))
        );
    }

    #[test]
    fn the_first_of_a_repeated_key_counts_and_blanks_do_not() {
        let request = Request::get("/socket.io/?token=&token=b").header("authorization", "  ");
        let found = credentials(&request.body(()).unwrap());
        assert!(found.authorization.is_none() && found.query.is_none());
        let request = Request::get("/socket.io/?token=a%20b&token=c")
            .body(())
            .unwrap();
        assert!(
            credentials(&request)
                .query
                .is_some_and(|token| token.expose() == "a b")
        );
    }
}
