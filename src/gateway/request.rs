//! What a request to the Socket.IO endpoint asks for, judged as Engine.IO's own server does.

use std::borrow::Cow;

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};
use tungstenite::handshake::derive_accept_key;

use super::{entrance::Credentials, packet::Token};

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

/// What a well-formed request asks for; `C` is a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked<C> {
    /// Open a connection that polls.
    Open,
    /// Wait for what there is for the client.
    Poll(C),
    /// Take what the client sends.
    Post(C),
    /// Open a connection on a WebSocket.
    WebSocket,
    /// Move a connection that polls to a WebSocket.
    Upgrade(C),
}

/// The request's query, each key with its first value.
#[derive(Debug, Default)]
struct Query<'a> {
    eio: Option<Cow<'a, str>>,
    transport: Option<Cow<'a, str>>,
    sid: Option<Cow<'a, str>>,
    token: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    fn of(uri: &'a Uri) -> Self {
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
            slot.get_or_insert(value);
        }
        query
    }
}

/// Judges a request in the order of Engine.IO's server: transport, session, method, version.
///
/// # Errors
/// What is wrong with the request.
pub(super) fn parse<B, C>(
    request: &Request<B>,
    find: impl FnOnce(&str) -> Option<C>,
) -> Result<Asked<C>, EngineError> {
    let query = Query::of(request.uri());
    let websocket = match query.transport.as_deref() {
        Some("websocket") => true,
        Some("polling") => false,
        _ => return Err(EngineError::TransportUnknown),
    };
    // To Engine.IO's own server, an empty one is none.
    let connection = match query.sid.as_deref().filter(|sid| !sid.is_empty()) {
        Some(sid) => Some(find(sid).ok_or(EngineError::SessionIdUnknown)?),
        None => None,
    };
    if connection.is_none() && request.method() != Method::GET {
        return Err(EngineError::BadHandshakeMethod);
    }
    if websocket != has_token(request.headers(), header::UPGRADE, "websocket") {
        return Err(EngineError::BadRequest);
    }
    if connection.is_none() && query.eio.as_deref() != Some("4") {
        return Err(EngineError::UnsupportedProtocolVersion);
    }
    match (connection, request.method()) {
        (None, _) if websocket => Ok(Asked::WebSocket),
        (None, _) => Ok(Asked::Open),
        (Some(connection), &Method::GET) if websocket => Ok(Asked::Upgrade(connection)),
        (Some(connection), &Method::GET) => Ok(Asked::Poll(connection)),
        (Some(connection), &Method::POST) => Ok(Asked::Post(connection)),
        _ => Err(EngineError::BadRequest),
    }
}

/// Whether a header that is a list has this token, in any case; its lines are one list (RFC 9110,
/// 5.3).
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    list(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// The answer that accepts a WebSocket (RFC 6455, 4.2), if the request can become one. As in Node it
/// names the first subprotocol that is offered: without one, browsers give up.
pub(super) fn accept_websocket<B>(request: &Request<B>) -> Option<Response<Body>> {
    let headers = request.headers();
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    let is_good = request.method() == Method::GET
        && request.version() >= Version::HTTP_11
        && has_token(headers, header::CONNECTION, "upgrade")
        && version.is_some_and(|version| version == "13");
    let key = key.filter(|_| is_good)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    let accept = derive_accept_key(key.as_bytes());
    let accept = HeaderValue::from_str(&accept).ok()?;
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = list(headers, header::SEC_WEBSOCKET_PROTOCOL).next() {
        let is_name = |text: &str| HeaderName::from_bytes(text.as_bytes()).is_ok();
        let protocol = Some(protocol).filter(|protocol| is_name(protocol));
        let protocol = protocol.and_then(|protocol| HeaderValue::from_str(protocol).ok());
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol?);
    }
    Some(response)
}

/// The token that a request carries: its header's, else its query's. CONNECT looks at it later.
pub(super) fn credentials<B>(request: &Request<B>) -> Option<Credentials> {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let token = authorization
        .and_then(|value| Token::new(&String::from_utf8_lossy(value.as_bytes())))
        .or_else(|| Token::new(&Query::of(request.uri()).token?));
    token.map(Credentials::Token)
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(method: &str, query: &str, upgrade: bool) -> Result<Asked<()>, EngineError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/socket.io/{query}"));
        if upgrade {
            request = request.header("upgrade", "WebSocket");
        }
        parse(&request.body(()).unwrap(), |sid| {
            (sid == "good").then_some(())
        })
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
            Ok(Asked::WebSocket)
        );
    }

    fn token(request: http::request::Builder) -> Option<String> {
        match credentials(&request.body(()).unwrap())? {
            Credentials::Token(token) => Some(token.0.expose().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn the_first_of_a_repeated_key_counts_and_blanks_do_not() {
        let request = Request::get("/socket.io/?token=&token=b").header("authorization", "  ");
        assert_eq!(token(request), None);
        let request = Request::get("/socket.io/?token=a%20b&token=c");
        assert_eq!(token(request), Some("a b".to_owned()));
        let request = Request::get("/socket.io/?token=a").header("authorization", "b");
        assert_eq!(token(request), Some("b".to_owned()));
    }

    fn accept(headers: &[(&str, &str)]) -> Option<Response<Body>> {
        let request = Request::get("/socket.io/?EIO=4&transport=websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        accept_websocket(&request.body(()).unwrap())
    }

    #[test]
    fn header_lines_of_one_name_are_one_list() {
        for headers in [
            &[("connection", "keep-alive"), ("connection", "Upgrade")][..],
            &[("connection", "keep-alive, upgrade")],
            &[("connection", "UPGRADE"), ("connection", "close")],
        ] {
            let answer = accept(headers).unwrap();
            let accepted = &answer.headers()["sec-websocket-accept"];
            assert_eq!(accepted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        }
        assert!(accept(&[("connection", "keep-alive")]).is_none());
    }

    #[test]
    fn the_first_subprotocol_that_is_offered_is_taken() {
        let connection = ("connection", "upgrade");
        for (headers, expected) in [
            (&[connection][..], None),
            (&[connection, ("sec-websocket-protocol", "v1")], Some("v1")),
            (
                &[connection, ("sec-websocket-protocol", "b , a")],
                Some("b"),
            ),
            (
                &[
                    connection,
                    ("sec-websocket-protocol", "x"),
                    ("sec-websocket-protocol", "y"),
                ],
                Some("x"),
            ),
        ] {
            let answer = accept(headers).unwrap();
            let found = answer.headers().get("sec-websocket-protocol");
            assert_eq!(
                found.map(HeaderValue::as_bytes),
                expected.map(str::as_bytes)
            );
        }
        for bad in ["", "a b", ",a"] {
            assert!(accept(&[connection, ("sec-websocket-protocol", bad)]).is_none());
        }
    }
}
