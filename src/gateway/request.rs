//! What a request to the Socket.IO endpoint asks for, by the rules of Engine.IO's own server.

use std::{borrow::Cow, collections::HashSet};

use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};
use tungstenite::handshake::derive_accept_key;

use super::{entrance::Credentials, packet::Token};
use crate::stream::header::{has_token, list};

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
}

/// What a well-formed request asks for; `C` is a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action<C> {
    /// Open a connection that polls.
    Open,
    /// Wait for packets.
    Poll(C),
    /// Take packets of the client.
    Post(C),
    /// Open a connection on a WebSocket.
    WebSocket,
    /// Move a connection that polls to a WebSocket.
    Upgrade(C),
}

/// The request's query. Of a repeated key the last value counts, as in Node; of repeated tokens the
/// first.
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
            match &*key {
                "EIO" => query.eio = Some(value),
                "transport" => query.transport = Some(value),
                "sid" => query.sid = Some(value),
                "token" if query.token.is_none() => query.token = Some(value),
                _ => {}
            }
        }
        query
    }
}

/// Checks a request in the order of Engine.IO's server: its transport, then its session and version;
/// without a session, its transport, method and version.
///
/// # Errors
/// What is wrong with the request.
pub(super) fn parse<B, C>(
    request: &Request<B>,
    find: impl FnOnce(&str) -> Option<C>,
) -> Result<Action<C>, EngineError> {
    let query = Query::of(request.uri());
    let websocket = match query.transport.as_deref() {
        Some("websocket") => true,
        Some("polling") => false,
        _ => return Err(EngineError::TransportUnknown),
    };
    let is_version_4 = query.eio.as_deref() == Some("4");
    let fits = websocket == is_upgrade(request);
    // Engine.IO's own server takes an empty one for none.
    let Some(sid) = query.sid.as_deref().filter(|sid| !sid.is_empty()) else {
        return match *request.method() {
            Method::GET if !fits => Err(EngineError::BadRequest),
            Method::GET if !is_version_4 => Err(EngineError::UnsupportedProtocolVersion),
            Method::GET if websocket => Ok(Action::WebSocket),
            Method::GET => Ok(Action::Open),
            _ => Err(EngineError::BadHandshakeMethod),
        };
    };
    let connection = find(sid).ok_or(EngineError::SessionIdUnknown)?;
    match *request.method() {
        _ if !fits || !is_version_4 => Err(EngineError::BadRequest),
        Method::GET if websocket => Ok(Action::Upgrade(connection)),
        Method::GET => Ok(Action::Poll(connection)),
        Method::POST if !websocket => Ok(Action::Post(connection)),
        _ => Err(EngineError::BadRequest),
    }
}

/// Whether the connection is to become a WebSocket: without `Connection: upgrade`, an `Upgrade` header
/// means nothing (RFC 9110, 7.8).
fn is_upgrade<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.version() >= Version::HTTP_11
        && has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket")
}

/// The value of a header that occurs exactly once.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    let mut lines = headers.get_all(name).into_iter();
    let value = lines.next()?.as_bytes();
    lines.next().is_none().then_some(value)
}

/// Whether it is 16 bytes in base64, whatever its unused last bits are.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let digits = key.strip_suffix(b"==");
    digits.is_some_and(|digits| digits.len() == 22 && digits.iter().all(is_digit))
}

/// The first of the subprotocols that the client offers.
///
/// # Errors
/// One of them is not a token, or occurs twice (RFC 6455, 4.1).
fn subprotocol(headers: &HeaderMap) -> Result<Option<HeaderValue>, EngineError> {
    let is_special = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    let is_token = |name: &[u8]| {
        let mut bytes = name.iter();
        !name.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || is_special(byte))
    };
    let mut known = HashSet::new();
    let mut offered = list(headers, header::SEC_WEBSOCKET_PROTOCOL);
    if !offered.all(|name| is_token(name) && known.insert(name)) {
        return Err(EngineError::BadRequest);
    }
    let first = list(headers, header::SEC_WEBSOCKET_PROTOCOL).next();
    Ok(first.and_then(|first| HeaderValue::from_bytes(first).ok()))
}

/// The response that accepts a WebSocket (RFC 6455, 4.2), if the request can become one. As in Node, it
/// names the first subprotocol that is offered, because browsers give up without one.
pub(super) fn accept_websocket<B>(request: &Request<B>) -> Option<Response<Body>> {
    let headers = request.headers();
    let key = single(headers, header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key))?;
    single(headers, header::SEC_WEBSOCKET_VERSION).filter(|version| *version == b"13")?;
    let protocol = subprotocol(headers).ok()?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    let accept = HeaderValue::from_str(&derive_accept_key(key)).ok()?;
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Some(response)
}

/// The token of a request, from its header or else its query, for a CONNECT that has none.
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

    fn judge(method: &str, query: &str, upgrade: bool) -> Result<Action<()>, EngineError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/socket.io/{query}"));
        if upgrade {
            request = request
                .header("upgrade", "WebSocket")
                .header("connection", "keep-alive, Upgrade");
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
            judge("GET", "?EIO=4&transport=polling&sid=good", true),
            Err(BadRequest)
        );
        assert_eq!(
            judge("POST", "?EIO=4&transport=websocket&sid=good", true),
            Err(BadRequest)
        );
        assert_eq!(
            judge("GET", "?transport=polling&sid=good", false),
            Err(BadRequest)
        );
        assert_eq!(
            judge("GET", "?EIO=4&transport=polling&t=x", false),
            Ok(Action::Open)
        );
        assert_eq!(
            judge("GET", "?EIO=4&transport=websocket", true),
            Ok(Action::WebSocket)
        );
    }

    fn token(request: http::request::Builder) -> Option<String> {
        match credentials(&request.body(()).unwrap())? {
            Credentials::Token(token) => Some(token.0.expose().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn of_a_repeated_key_the_last_counts() {
        let query = "?transport=websocket&transport=polling&EIO=3&EIO=4&sid=x&sid=good";
        assert_eq!(judge("GET", query, false), Ok(Action::Poll(())));
        assert_eq!(
            judge("GET", &format!("{query}&sid="), false),
            Ok(Action::Open)
        );
    }

    #[test]
    fn an_upgrade_header_without_connection_upgrade_means_nothing() {
        let judge = |header: (&str, &str), version| {
            let request = Request::get("/socket.io/?EIO=4&transport=polling")
                .version(version)
                .header("upgrade", "websocket")
                .header(header.0, header.1);
            parse(&request.body(()).unwrap(), |_| None::<()>)
        };
        let close = ("connection", "close");
        assert_eq!(judge(close, Version::HTTP_11), Ok(Action::Open));
        let upgrade = ("connection", "upgrade");
        assert_eq!(judge(upgrade, Version::HTTP_10), Ok(Action::Open));
        let refused = Err(EngineError::BadRequest);
        assert_eq!(judge(upgrade, Version::HTTP_11), refused);
    }

    #[test]
    fn the_first_of_several_tokens_counts_and_blanks_do_not() {
        let request = Request::get("/socket.io/?token=&token=b").header("authorization", "  ");
        assert_eq!(token(request), None);
        let request = Request::get("/socket.io/?token=a%20b&token=c");
        assert_eq!(token(request), Some("a b".to_owned()));
        let request = Request::get("/socket.io/?token=a").header("authorization", "b");
        assert_eq!(token(request), Some("b".to_owned()));
    }

    fn accept(headers: &[(&str, &str)]) -> Option<Response<Body>> {
        let request = Request::get("/socket.io/?EIO=4&transport=websocket")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let request = request.body(()).unwrap();
        let action = parse(&request, |_| None::<()>).ok()?;
        assert_eq!(action, Action::WebSocket);
        accept_websocket(&request)
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
        for bad in ["", "a b", ",a", "a,", "a,,b", "a, a", "a;b", "a, \u{e9}"] {
            let offer = ("sec-websocket-protocol", bad);
            assert!(accept(&[connection, offer]).is_none(), "{bad}");
        }
        let offer = ("sec-websocket-protocol", "a");
        assert!(accept(&[connection, offer, offer]).is_none());
        for repeated in ["sec-websocket-key", "sec-websocket-version"] {
            assert!(accept(&[connection, (repeated, "13")]).is_none());
        }
    }
}
