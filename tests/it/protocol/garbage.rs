//! Clients that send garbage.

use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::support::{
    PATIENCE, eventually, http,
    http::RawConnection,
    is_small_again, jwt,
    polling::Polling,
    sockd::Sockd,
    websocket::{WebSocket, frame, upgrade},
};

/// Strangers at a time.
const CROWD: usize = 24;

/// For `SOCKD_GARBAGE_SECONDS`, with the seed of `SOCKD_SEED`, which a failure prints.
#[tokio::test]
async fn garbage_leaves_the_server_serving_and_its_memory_where_it_was() {
    let seconds = std::env::var("SOCKD_GARBAGE_SECONDS").map_or(10, |seconds| {
        seconds.parse().expect("SOCKD_GARBAGE_SECONDS is a number")
    });
    let seed = seed();
    let sockd = Sockd::builder()
        .env("SOCKD_LOG__LEVEL", "info")
        .env("SOCKD_SOCKETIO__CONNECT_TIMEOUT", "2s")
        .env("SOCKD_SERVER__HEADER_TIMEOUT", "2s")
        .env("SOCKD_SERVER__KEEP_ALIVE", "2s")
        .env("SOCKD_SERVER__BODY_TIMEOUT", "2s")
        .start()
        .await;
    strew(&sockd, seed, Duration::from_secs(4)).await;
    is_clean(&sockd, seed).await;
    let before = sockd.resident_kib();

    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    let end = Instant::now() + Duration::from_secs(seconds);
    let serving = async {
        let mut number = 0;
        while Instant::now() < end {
            number += 1;
            sockd.emit(&user, "profile:update", &json!(number)).await;
            let expected = format!(r#"42["profile:update",{number}]"#);
            assert_eq!(websocket.packet().await, expected, "seed {seed}");
            assert_eq!(polling.packet().await, expected, "seed {seed}");
        }
        number
    };
    let strewing = async {
        let mut round = seed.wrapping_add(1);
        strew(&sockd, round, Duration::from_secs(seconds)).await;
        // Some must get past the first checks, which takes longer on a busy machine.
        let deadline = Instant::now() + 3 * PATIENCE;
        while let Some(missing) = ending_not_seen(&sockd).await {
            assert!(Instant::now() < deadline, "no {missing}, seed {seed}");
            round = round.wrapping_add(1);
            strew(&sockd, round, Duration::from_secs(1)).await;
        }
    };
    let (events, ()) = tokio::join!(serving, strewing);
    assert!(events > 0);
    polling.send("1").await;
    websocket.abandon();
    is_clean(&sockd, seed).await;
    is_small_again(&sockd, before).await;
    assert_eq!(
        http::get(&format!("{}/healthz", sockd.url()))
            .await
            .status(),
        200
    );
    sockd.log().lacks("panicked");
}

/// A way in which garbage should have ended a connection, and has not yet.
async fn ending_not_seen(sockd: &Sockd) -> Option<&'static str> {
    let text = sockd.metrics().await;
    let is_missing = |why: &&str| {
        let none = format!(r#"sockd_connections_ended_total{{why="{why}"}} 0"#);
        text.lines().any(|line| line == none)
    };
    ["unreadable", "protocol_violated", "message_too_long"]
        .into_iter()
        .find(is_missing)
}

/// Waits until no connection is left.
async fn is_clean(sockd: &Sockd, seed: u64) {
    eventually(
        3 * PATIENCE,
        &format!("the end of it, seed {seed}"),
        async || {
            let text = sockd.metrics().await;
            text.lines().any(|line| line == "sockd_connections 0")
        },
    )
    .await;
}

async fn strew(sockd: &Sockd, seed: u64, time: Duration) {
    let end = Instant::now() + time;
    join_all((0..CROWD as u64).map(async |stranger| {
        let mut chance = Rng::with_seed(seed ^ stranger.rotate_right(8));
        while Instant::now() < end {
            // Whoever is slow is given up when the time is over.
            timeout(end - Instant::now(), intrude(sockd, &mut chance))
                .await
                .ok();
        }
    }))
    .await;
}

async fn intrude(sockd: &Sockd, chance: &mut Rng) {
    let is_websocket = chance.usize(..2) == 0;
    let mut stream = RawConnection::open(sockd.address()).await;
    // Frames follow directly after the request, or replace it.
    if is_websocket && chance.usize(..4) > 0 && !stream.try_send(upgrade("")).await {
        return;
    }
    for _ in 0..=chance.usize(..4) {
        let bytes = match (is_websocket, chance.usize(..3)) {
            (true, 0 | 1) => frames(chance),
            _ => request(chance),
        };
        // All at once, or a bit at a time.
        let piece = pick(chance, &[1, 7, 1_000, usize::MAX]);
        for piece in bytes.chunks(piece).take(200) {
            if !stream.try_send(piece).await {
                return;
            }
        }
    }
    match chance.usize(..4) {
        0 => stream.reset(),
        1 => {
            // A stranger who waits, for a moment or until it is thrown out.
            let patience = Duration::from_millis(pick(chance, &[10, 100, 3_000]));
            timeout(patience, stream.read_to_end(PATIENCE)).await.ok();
        }
        _ => drop(stream),
    }
}

fn frames(chance: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..chance.usize(..8) {
        let text = pick(
            chance,
            &[
                "3",
                "2probe",
                "5",
                "1",
                "40",
                r#"40{"token":"x"}"#,
                "40/a,",
                "41",
                r#"42["a"]"#,
                r#"4516-["a"]"#,
                "4",
                "b",
                "\u{1e}",
            ],
        );
        let opcode = pick(
            chance,
            &[0x81, 0x01, 0x82, 0x80, 0x00, 0x89, 0x8a, 0x88, 0xc1, 0x83],
        );
        match chance.usize(..6) {
            0 => bytes.extend(bytes_of(chance, 20)),
            // Announced, and never sent.
            1 => bytes.extend([opcode, 0xff, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x3f, 1, 2, 3, 4]),
            2 => bytes.extend(frame(opcode, &vec![b'x'; chance.usize(..100_000)])),
            // Longer than a message may be.
            3 if chance.usize(..4) == 0 => {
                bytes.extend([0x82, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 1, 2, 3, 4])
            }
            _ => bytes.extend(frame(opcode, text.as_bytes())),
        }
    }
    bytes
}

fn request(chance: &mut Rng) -> Vec<u8> {
    const TLS_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let path = pick(
        chance,
        &[
            "/socket.io/?EIO=4&transport=polling",
            "/socket.io/?EIO=4&transport=websocket",
            "/socket.io/?EIO=4&transport=polling&sid=x",
            "/socket.io/?EIO=3",
            "/socket.io/",
            "/",
            "/internal/emit",
            "/metrics",
            "*",
            "http://[",
            "/%00%ff",
            "/socket.io/?\u{fe}",
        ],
    );
    let method = pick(
        chance,
        &[
            "GET", "GET", "POST", "OPTIONS", "HEAD", "PRI", "CONNECT", "g\0t",
        ],
    );
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: sockd\r\n");
    for _ in 0..chance.usize(..4) {
        head += pick(
            chance,
            &[
                "connection: upgrade\r\nupgrade: websocket\r\n",
                "sec-websocket-version: 13\r\n",
                "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                "expect: 100-continue\r\n",
                "content-length: 5\r\n",
                "content-length: 99999999999999999999\r\n",
                "content-length: 900000\r\n",
                "transfer-encoding: chunked\r\n",
                "transfer-encoding: gzip\r\n",
                "host: b\r\n",
                "upgrade: h2c\r\n",
                ": x\r\n",
                "x\r\n",
                "connection: close\r\n",
                "authorization: Bearer x\r\n",
                " folded\r\n",
            ],
        );
    }
    match chance.usize(..8) {
        0 => return [TLS_HELLO, &bytes_of(chance, 300)].concat(),
        1 => {
            let count = chance.usize(..2_000);
            return bytes_of(chance, count);
        }
        // Half a head.
        2 => {
            let length = chance.usize(..head.len());
            return head.into_bytes()[..length].to_vec();
        }
        3 => head += &format!("x: {}\r\n\r\n", "y".repeat(40_000)),
        4 => head += &"a: b\r\n".repeat(300),
        _ => head += "\r\n",
    }
    head += pick(
        chance,
        &[
            "",
            "hello",
            "5\r\nhello\r\n0\r\n\r\n",
            "ffffffffffffffff1\r\n",
            "-1\r\n",
            "5;x=y\r\nhel",
            "0\r\nx: y\r\n\r\n",
            "1\r\na\r\n1\r\nb\r\n",
            "40\u{1e}41\u{1e}",
            "zz\r\n",
        ],
    );
    head.into_bytes()
}

fn pick<T: Copy>(chance: &mut Rng, choices: &[T]) -> T {
    choices[chance.usize(..choices.len())]
}

fn bytes_of(chance: &mut Rng, count: usize) -> Vec<u8> {
    (0..count).map(|_| chance.u8(..)).collect()
}

/// The seed of `SOCKD_SEED`, else one of the moment.
fn seed() -> u64 {
    std::env::var("SOCKD_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("SOCKD_SEED is a number"),
    )
}
