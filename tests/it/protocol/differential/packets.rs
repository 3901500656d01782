//! What clients and backends send: usual packets and requests, odd ones, and broken ones.

/// Events that a client may send, each with its attachments.
pub const EVENTS: &[&str] = &[
    r#"42["message",{"a":[1,null,"x"]}]"#,
    r#"42["message"]"#,
    r#"42["auth:logout",{}]"#,
    r#"4217["message",1]"#,
    r#"42/,["message"]"#,
    r#"42[17,"a number for a name"]"#,
    r#"42["ünïcode","\ud83d\ude00"]"#,
    r#"42["error",1]"#,
    r#"42["a","b","c"] "#,
    r#"42 ["message"]"#,
    r#"42["\u0061n escape"]"#,
    r#"42["say \"hi\""]"#,
    r#"42["huge",1e400,-0.0]"#,
    r#"42["half a pair \ud83d"]"#,
    r#"42["a","\ud83d"]"#,
    r#"42[-1.5]"#,
    r#"42[""]"#,
    r#"4212345678901234567890["message"]"#,
    r#"42 1 2["blanks in a number"]"#,
    "42\u{a0}[\"a blank of JavaScript\"]",
    r#"42["__proto__"]"#,
    "42",
    "421",
    "42/,",
    "43",
    "43[]",
    "43 []",
    "4317",
    "4317[1,2]",
    "4312345678901234567890[]",
    r#"43["connect"]"#,
];

/// How a number of attachments can be written, `N` being the number.
pub const COUNTS: &[&str] = &[
    "N", "N", "N", "N", "0N", "N.0", "Ne0", "+N", " N", "0xN", "0b1",
];

/// A placeholder for an attachment that no event has.
pub const MISPLACED: &str = r#"{"_placeholder":true,"num":99}"#;

/// Packets that end a connection, or do nothing, or have no addressee.
pub const ODD: &[&str] = &[
    "2",
    "3",
    "2probe",
    "3probe",
    "5",
    "6",
    "0",
    "9",
    "x",
    "",
    "4",
    "4x",
    "47",
    "42",
    "42{}",
    "42[",
    "42[]",
    "42null",
    r#"42["a""#,
    r#"42["a"]]"#,
    r#"42["a",nonsense]"#,
    "42nonsense",
    r#"42abc["a"]"#,
    r#"42[null]"#,
    r#"42[true]"#,
    r#"42[["a"]]"#,
    r#"42[{}]"#,
    r#"42["connect"]"#,
    r#"42["connect_error"]"#,
    r#"42["disconnect"]"#,
    r#"42["disconnecting"]"#,
    r#"42["newListener"]"#,
    r#"42["removeListener"]"#,
    "43{}",
    "4317{}",
    "43-1[]",
    "431.5[]",
    "43null",
    "43[",
    "43/elsewhere,1[]",
    "44",
    "44[]",
    r#"44{"message":"no"}"#,
    "44x",
    "45",
    r#"45["a"]"#,
    r#"45-["a"]"#,
    r#"450-["a"]"#,
    r#"451["a"]"#,
    r#"45x-["a"]"#,
    r#"451.5-["a"]"#,
    r#"45,1-["a"]"#,
    "45-1-[]",
    r#"450x-["a"]"#,
    "46",
    "46-1[]",
    "461[]",
    "461-{}",
    "461-1{}",
    "4117",
    "41{}",
    "41[]",
    "41/elsewhere,",
    r#"42/elsewhere,["a"]"#,
    "48",
    "4-1",
    "b",
    "bAQID",
    "1x",
    "3x",
    "2x",
    r#"42["a"]x"#,
    "41,",
    "41/,",
    "\u{fe}",
    "4\u{0}",
];

/// CONNECTs to other namespaces.
pub const ELSEWHERE: &[&str] = &[
    "40/elsewhere,",
    "40/elsewhere",
    r#"40/elsewhere,{"token":"x"}"#,
    "40/ünï,",
    "40//,",
    "40/a,b,",
    r#"40/e,[]"#,
    "40/e?x=y,",
];

pub const PAYLOADS: &[&str] = &[
    "null",
    "true",
    "0",
    "1.0",
    "-0",
    "1e21",
    "9007199254740993",
    r#""text""#,
    r#""ü\u00fc\n""#,
    r#"{ "b" : 1, "a" : [ ] }"#,
    r#"{"a":1,"a":2}"#,
    "[[[[]]]]",
    r#""\ud83d""#,
    "[]",
    "{}",
];

pub const NAMES: &[&str] = &["profile:update", "account:update", "auth:logout"];

/// The payload of a CONNECT with something besides the token that needs JavaScript.
pub const BESIDE: &[&str] = &[
    r#""name":"Ann""#,
    r#""name":"Ann\ud83d""#,
    r#""n":1e400"#,
    r#""deep":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"#,
    r#""\ud83d":1"#,
    r#""pid":"a","offset":"b""#,
];

pub const RAW_AUTH: &[&str] = &[
    "",
    "{}",
    r#"{"token":null}"#,
    r#"{"token":"  "}"#,
    r#"{"token":17}"#,
    r#"{"token":[]}"#,
    r#"{"token":[[]]}"#,
    r#"{"token":"no"}"#,
    r#"{"token":"Bearer"}"#,
    r#"{"token":"bearer "}"#,
    r#"{"token":"a.b.c"}"#,
    "[]",
    r#""text""#,
    "null",
    "{",
    r#"{"token":"#,
    "/,",
    "/,{}",
    "17",
];

/// Packets for the stream of an upgrade that are not in their place.
pub const ODD_PROBES: &[&str] = &["5", "2", "2prob", "3probe", r#"42["a"]"#, "", "x", "1", "6"];

/// Queries for a session that are not those of its transport.
pub const QUERIES: &[&str] = &[
    "EIO=3&transport=polling",
    "EIO=4&transport=websocket",
    "EIO=4&transport=tcp",
    "EIO=4",
    "transport=polling",
];

/// Paths and queries to post to.
pub const POSTS: &[&str] = &[
    "/socket.io/?EIO=4&transport=polling&sid=SID&t=abc",
    "/socket.io/?sid=SID&transport=polling&EIO=4",
    "/socket.io/?EIO=4&transport=polling&sid=nobody&sid=SID",
    "/socket.io/?EIO=4&transport=polling&sid=SID&sid=nobody",
    "/socket.io/?EIO=3&EIO=4&transport=polling&sid=SID",
    "/socket.io/?EIO=4&EIO=3&transport=polling&sid=SID",
    "/socket.io/?EIO=4&transport=websocket&transport=polling&sid=SID",
    "/socket.io/?EIO=%34&transport=p%6Flling&sid=SID",
    "/socket.io/?EIO=4&transport=polling&sid=SID&b64=1",
    "/socket.io/?EIO=4&transport=polling&sid=SID%20",
    "/socket.io/?EIO=4&transport=polling&sid=+SID",
    "/socket.io/?EIO=4&transport=polling&sid=",
    "/socket.io/?EIO=4&transport=polling&sid=SID&sid=",
    "/socket.io/?EIO=4&transport=polling&sid=SID&transport=websocket",
    "/socket.io/?EIO=4&transport=polling&sid=SID&EIO",
    "/socket.io/?transport=polling&sid=SID",
    "/socket.io/?EIO=4&transport=websocket&sid=SID\nupgrade: websocket",
    "/socket.io/?EIO=4&transport=polling&sid=SID\nupgrade: websocket",
    "/socket.io/?EIO=4&transport=polling&sid=SID\ncontent-type: application/json",
    "/socket.io/?EIO=4&transport=polling&sid=SID\ncontent-type: application/octet-stream",
    "/socket.io/?EIO=4&transport=polling&sid=SID\ncontent-type: application/octet-stream;x=y",
    "/socket.io/more?EIO=4&transport=polling&sid=SID",
    "/socket.io/?&&EIO=4&transport=polling&sid=SID&",
    "/socket.io/?EIO=4;transport=polling;sid=SID",
];

/// Requests that open a connection, or are refused.
pub const OPEN_REQUESTS: &[&str] = &[
    "GET /socket.io/?EIO=4&transport=polling",
    "GET /socket.io/?EIO=4&transport=polling&sid=",
    "GET /socket.io/?EIO=4&transport=polling&sid=nobody",
    "GET /socket.io/?EIO=4&transport=polling&transport=polling",
    "GET /socket.io/?EIO=4&transport=polling&transport=websocket",
    "GET /socket.io/?EIO=3&EIO=4&transport=polling",
    "GET /socket.io/?EIO=4&EIO=3&transport=polling",
    "GET /socket.io/?EIO=4&transport=polling&sid=nobody&sid=",
    "GET /socket.io/?EIO=4&transport=polling&transport",
    "GET /socket.io/?EIO=4&transport=polling&EIO",
    "GET /socket.io/?EIO=4&transport=polling#&EIO=3",
    "GET http://localhost/socket.io/?EIO=4&transport=polling",
    "GET /socket.io/?EIO=4&transport=polling\nupgrade: websocket",
    "GET /socket.io/?EIO=4&transport=websocket\nupgrade: websocket",
    "GET /socket.io/?EIO=4&transport=polling\nupgrade: h2c",
    "HEAD /socket.io/?EIO=4&transport=polling",
    "GET /socket.io/?EIO=04&transport=polling",
    "GET /socket.io/?EIO=4.0&transport=polling",
    "GET /socket.io/?EIO=%34&transport=p%6Flling",
    "GET /socket.io/?eio=4&transport=polling",
    "GET /socket.io/?EIO=4;transport=polling",
    "GET /socket.io/?EIO=4&transport=webtransport",
    "GET /socket.io/?EIO=4&transport=polling&b64=1&j=0",
    "GET /socket.io/",
    "GET /socket.io/?",
    "GET /socket.io/more?EIO=4&transport=polling",
    "GET /socket.io?EIO=4&transport=polling",
    "GET /SOCKET.IO/?EIO=4&transport=polling",
    "GET //socket.io/?EIO=4&transport=polling",
    "GET /%73ocket.io/?EIO=4&transport=polling",
    "POST /socket.io/?EIO=4&transport=polling",
    "POST /socket.io/?EIO=4&transport=polling&sid=nobody",
    "PUT /socket.io/?EIO=4&transport=polling",
    "DELETE /socket.io/?EIO=4&transport=polling",
    "POST /socket.io/?EIO=4&transport=websocket",
    "GET /socket.io/?EIO=4&transport=websocket",
    "GET /socket.io/?EIO=4&transport=websocket&sid=nobody",
];

/// What requests that open a WebSocket ask for.
pub const UPGRADE_QUERIES: &[&str] = &[
    "EIO=4&transport=websocket",
    "EIO=4&transport=websocket",
    "EIO=4&transport=websocket",
    "EIO=4&transport=websocket&sid=",
    "EIO=4&transport=websocket&sid=nobody",
    "EIO=4&transport=polling",
    "EIO=3&transport=websocket",
    "EIO=4",
];

/// The headers of a request that opens a WebSocket, and what follows them.
macro_rules! websocket {
    ($($behind:literal)?) => {
        concat!(
            "connection: Upgrade\nupgrade: websocket\nsec-websocket-version: 13\n",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            $("\n", $behind)?
        )
    };
}

/// Headers of requests that open a WebSocket.
pub const UPGRADE_HEADERS: &[&str] = &[
    websocket!(),
    websocket!("sec-websocket-extensions: permessage-deflate"),
    websocket!("sec-websocket-protocol: v1"),
    websocket!("sec-websocket-protocol: v2, v1"),
    websocket!("sec-websocket-protocol: v2 ,\tv1 "),
    websocket!("sec-websocket-protocol: v2\nsec-websocket-protocol: v1"),
    websocket!("sec-websocket-protocol: v1\nsec-websocket-protocol: v1"),
    websocket!("sec-websocket-protocol: v1, v1"),
    websocket!("sec-websocket-protocol: V1, v1"),
    websocket!("sec-websocket-protocol: v 1"),
    websocket!("sec-websocket-protocol: v1,"),
    websocket!("sec-websocket-protocol: ,v1"),
    websocket!("sec-websocket-protocol: v1,,v2"),
    websocket!("sec-websocket-protocol: "),
    websocket!("sec-websocket-protocol: v1;q=1"),
    websocket!("sec-websocket-protocol: v1, v/2"),
    websocket!("sec-websocket-protocol: v1, \u{e9}"),
    websocket!("sec-websocket-protocol: !#$%&'*+-.^_`|~"),
    websocket!("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="),
    websocket!("sec-websocket-version: 13"),
    websocket!("connection: keep-alive"),
    websocket!("connection: close"),
    "connection: keep-alive, Upgrade\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "connection: keep-alive\nconnection: Upgrade\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "connection: upgrade\nupgrade: WebSocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZR==",
    "connection: Upgrade\nupgrade: websocket\nsec-websocket-version: 8\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "connection: Upgrade\nupgrade: websocket\nsec-websocket-version: 12\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "connection: Upgrade\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: short",
    "connection: Upgrade\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=",
    "connection: Upgrade\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25j_Q==",
    "connection: Upgrade\nupgrade: websocket\nsec-websocket-version: 13",
    "connection: Upgrade\nupgrade: websocket\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "connection: Upgrade\nupgrade: h2c\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "connection: Upgrade\nupgrade: h2c, websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "connection: close\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "upgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\nconnection: close",
    "connection: Upgrade, close\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// The first byte of a frame's header, and its payload.
pub const FRAMES: &[(u8, &[u8])] = &[
    (0x89, b""),
    (0x89, b"a ping"),
    (0x8a, b"a pong that nobody asked for"),
    // An opcode and a bit that are not defined.
    (0x83, b"x"),
    (0xc1, b"40"),
    // A control frame in pieces, or of more than 125 bytes.
    (0x09, b""),
    (0x89, &[b'x'; 126]),
    // A piece of nothing.
    (0x80, b"x"),
    // A text that is none.
    (0x81, b"42[\"\xff\"]"),
    (0x81, b""),
    // Ends of every kind.
    (0x88, b""),
    (0x88, b"\x03"),
    (0x88, b"\x03\xe8"),
    (0x88, b"\x03\xe9going away"),
    (0x88, b"\x03\xed"),
    (0x88, b"\x03\xe8\xff"),
    (0x88, b"\x0b\xb8a reason of its own"),
    (0x88, b"\x27\x10"),
];
