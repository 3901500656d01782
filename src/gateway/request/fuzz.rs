//! Input: lines, the first a method and an address, each other one a header.

use std::collections::HashMap;

use arbtest::arbitrary::{Result, Unstructured};
use http::{Method, Request, StatusCode, header};
use tungstenite::handshake::server::create_response;

use super::{Asked, EngineError, accept_websocket, credentials, parse};
use crate::{
    auth,
    gateway::{entrance::Credentials, fuzz::fuzz},
};

#[test]
fn requests_are_judged_as_a_model_and_tungstenite_judge_them() {
    fuzz("requests", target, invent);
}

fn target(input: &[u8]) {
    let Some(request) = request(input) else {
        return;
    };
    // One session is known.
    let find = |sid: &str| (sid == "known").then_some(());
    assert_eq!(parse(&request, find), model(&request), "{request:?}");
    if let Some(Credentials::Token(token)) = credentials(&request) {
        let token = token.0.expose();
        assert!(!auth::trim(token).is_empty() && token.len() <= 2 * auth::MAX_TOKEN);
    }
    let Some(ours) = accept_websocket(&request) else {
        let offers = request
            .headers()
            .contains_key(header::SEC_WEBSOCKET_PROTOCOL);
        let theirs = create_response(&request);
        assert!(offers || theirs.is_err(), "tungstenite accepts {request:?}");
        return;
    };
    assert_eq!(ours.status(), StatusCode::SWITCHING_PROTOCOLS);
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offered: Vec<_> = offered.into_iter().flat_map(|line| line.to_str()).collect();
    match ours.headers().get(header::SEC_WEBSOCKET_PROTOCOL) {
        Some(chosen) => {
            let chosen = chosen.to_str().expect("a name");
            assert_eq!(
                offered.join(",").split(',').next().map(str::trim),
                Some(chosen)
            );
        }
        None => assert!(offered.is_empty(), "{request:?}"),
    }
    // What tungstenite does not read as a list is made of one word.
    let mut plain = request;
    for (name, value) in [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
    ] {
        plain
            .headers_mut()
            .insert(name, value.parse().expect("a value"));
    }
    let theirs = create_response(&plain).expect("tungstenite accepts it");
    for name in [
        header::SEC_WEBSOCKET_ACCEPT,
        header::UPGRADE,
        header::CONNECTION,
    ] {
        assert_eq!(ours.headers().get(&name), theirs.headers().get(&name));
    }
}

fn request(input: &[u8]) -> Option<Request<()>> {
    let mut lines = input.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, address) = first.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(address);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], &line[colon + 1..]);
    }
    request.body(()).ok()
}

/// The order of Engine.IO's server, in one table.
fn model(request: &Request<()>) -> std::result::Result<Asked<()>, EngineError> {
    let query = request.uri().query().unwrap_or_default();
    let mut values = HashMap::new();
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        values.entry(key.into_owned()).or_insert(value.into_owned());
    }
    let value = |key: &str| values.get(key).map_or("", String::as_str);
    let upgrades = request.headers().get_all(header::UPGRADE).into_iter();
    let upgrades = upgrades
        .filter_map(|line| line.to_str().ok())
        .collect::<Vec<_>>();
    let mut upgrades = upgrades.iter().flat_map(|line| line.split(','));
    let upgrades = upgrades.any(|word| word.trim().eq_ignore_ascii_case("websocket"));
    let (method, is_new) = (request.method(), value("sid").is_empty());
    Err(match value("transport") {
        transport if !["polling", "websocket"].contains(&transport) => {
            EngineError::TransportUnknown
        }
        _ if !["", "known"].contains(&value("sid")) => EngineError::SessionIdUnknown,
        _ if is_new && method != Method::GET => EngineError::BadHandshakeMethod,
        transport if (transport == "websocket") != upgrades => EngineError::BadRequest,
        _ if is_new && value("EIO") != "4" => EngineError::UnsupportedProtocolVersion,
        transport => {
            return match (transport, method, is_new) {
                ("websocket", _, true) => Ok(Asked::WebSocket),
                (_, _, true) => Ok(Asked::Open),
                ("websocket", &Method::GET, _) => Ok(Asked::Upgrade(())),
                (_, &Method::GET, _) => Ok(Asked::Poll(())),
                (_, &Method::POST, _) => Ok(Asked::Post(())),
                _ => Err(EngineError::BadRequest),
            };
        }
    })
}

const QUERY: [&str; 14] = [
    "EIO=4",
    "EIO=3",
    "EIO=",
    "transport=polling",
    "transport=websocket",
    "transport=x",
    "sid=known",
    "sid=unknown",
    "sid=",
    "token=a%20b",
    "token=",
    "%45IO=4",
    "t=x",
    "transport",
];
const HEADERS: [&str; 19] = [
    "connection:upgrade",
    "connection:keep-alive",
    "connection:keep-alive, Upgrade",
    "connection:close,",
    "upgrade:websocket",
    "upgrade:h2c",
    "upgrade:h2c, WebSocket",
    "upgrade:websocket/13",
    "sec-websocket-version:13",
    "sec-websocket-version:8",
    "sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-key:c2hvcnQ=",
    "sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ",
    "sec-websocket-protocol:v1, v2",
    "sec-websocket-protocol:",
    "sec-websocket-protocol:a b",
    "authorization:Bearer a.b.c",
    "authorization: ",
    "authorization:\u{e9}",
];

fn invent(random: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let method = *random.choose(&["GET", "GET", "GET", "POST", "HEAD", "PUT", "x"])?;
    let mut request = format!("{method} /socket.io/?");
    for _ in 0..random.int_in_range(0..=5)? {
        request += random.choose(&QUERY)?;
        request.push('&');
    }
    // An upgrade needs four headers, of which chance would seldom think together.
    if random.ratio(1, 2)? {
        for number in [0, 4, 8, 10] {
            request.push('\n');
            request += HEADERS[number];
        }
    }
    for _ in 0..random.int_in_range(0..=3)? {
        request.push('\n');
        request += random.choose(&HEADERS)?;
    }
    Ok(request.into_bytes())
}
