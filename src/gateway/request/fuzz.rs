//! Input: a line with a method and an address, then a line for each header.

use std::collections::HashMap;

use arbtest::arbitrary::{Result, Unstructured};
use http::{HeaderValue, Method, Request, StatusCode, header};
use tungstenite::handshake::{derive_accept_key, server::create_response};

use super::{Action, EngineError, accept_websocket, credentials, parse};
use crate::{
    auth,
    gateway::{entrance::Credentials, fuzz::fuzz},
};

#[test]
fn requests_are_judged_as_a_model_and_tungstenite_judge_them() {
    fuzz("requests", target, generate);
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
    if !matches!(
        parse(&request, find),
        Ok(Action::WebSocket | Action::Upgrade(()))
    ) {
        return;
    }
    let Some(ours) = accept_websocket(&request) else {
        // tungstenite ignores subprotocols, and all but the first line of a repeated header.
        let is_stricter = request.headers().keys_len() < request.headers().len()
            || request
                .headers()
                .contains_key(header::SEC_WEBSOCKET_PROTOCOL)
            || request
                .headers()
                .get(header::SEC_WEBSOCKET_KEY)
                .is_some_and(|key| key.len() != 24);
        let theirs = create_response(&request);
        assert!(
            is_stricter || theirs.is_err(),
            "tungstenite accepts {request:?}"
        );
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
    // tungstenite does not read these headers as lists, so it gets single words.
    let mut plain = request;
    for (name, value) in [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
    ] {
        plain
            .headers_mut()
            .insert(name, value.parse().expect("a value"));
    }
    // Unlike Node, it refuses a key whose unused last bits are set.
    let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
    let key = plain.headers_mut().insert(header::SEC_WEBSOCKET_KEY, key);
    let key = key.expect("the key of the request");
    let theirs = create_response(&plain).expect("tungstenite accepts it");
    for name in [header::UPGRADE, header::CONNECTION] {
        assert_eq!(ours.headers().get(&name), theirs.headers().get(&name));
    }
    let accept = &ours.headers()[header::SEC_WEBSOCKET_ACCEPT];
    assert_eq!(*accept, derive_accept_key(key.as_bytes()));
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
fn model(request: &Request<()>) -> std::result::Result<Action<()>, EngineError> {
    let query = request.uri().query().unwrap_or_default();
    let mut values = HashMap::new();
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        values.insert(key.into_owned(), value.into_owned());
    }
    let value = |key: &str| values.get(key).map_or("", String::as_str);
    let has = |name, token: &str| {
        let lines = request.headers().get_all(name).into_iter();
        let lines: Vec<_> = lines
            .map(|line| String::from_utf8_lossy(line.as_bytes()))
            .collect();
        let lines = lines.join(",").to_ascii_lowercase();
        lines.split(',').any(|found| found.trim_ascii() == token)
    };
    let upgrades = has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade");
    let (transport, sid) = (value("transport"), value("sid"));
    if !["polling", "websocket"].contains(&transport) {
        return Err(EngineError::TransportUnknown);
    }
    let fits = (transport == "websocket") == upgrades;
    let is_version_4 = value("EIO") == "4";
    let is_get = request.method() == Method::GET;
    match sid {
        "" if !is_get => Err(EngineError::BadHandshakeMethod),
        "" if !fits => Err(EngineError::BadRequest),
        "" if !is_version_4 => Err(EngineError::UnsupportedProtocolVersion),
        "" if upgrades => Ok(Action::WebSocket),
        "" => Ok(Action::Open),
        "known" if !fits || !is_version_4 => Err(EngineError::BadRequest),
        "known" if is_get && upgrades => Ok(Action::Upgrade(())),
        "known" if is_get => Ok(Action::Poll(())),
        "known" if request.method() == Method::POST && !upgrades => Ok(Action::Post(())),
        "known" => Err(EngineError::BadRequest),
        _ => Err(EngineError::SessionIdUnknown),
    }
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
const HEADERS: [&str; 22] = [
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
    "sec-websocket-protocol:v1",
    "sec-websocket-protocol:v1 ,v1",
    "sec-websocket-key:dGhlIHNhbXBsZSBub25jZR==",
    "authorization:Bearer a.b.c",
    "authorization: ",
    "authorization:\u{e9}",
];

fn generate(random: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let method = *random.choose(&["GET", "GET", "GET", "POST", "HEAD", "PUT", "x"])?;
    let mut request = format!("{method} /socket.io/?");
    for _ in 0..random.int_in_range(0..=5)? {
        request += random.choose(&QUERY)?;
        request.push('&');
    }
    // An upgrade needs four headers, which random choice would rarely combine.
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
