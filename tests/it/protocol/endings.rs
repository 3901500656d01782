//! Connections leave nothing behind, however they end.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    eventually, http, http::RawConnection, is_small_again, jwt, sockd::Sockd, websocket::frame,
    websocket::open_raw, websocket::upgrade,
};

/// The longest time until the last of a round is given up.
const LIMIT: Duration = Duration::from_secs(60);
/// Connections at a time.
const CROWD: usize = 100;

macro_rules! kinds {
    ($($kind:ident,)*) => {
        #[derive(Debug, Clone, Copy)]
        enum Kind {
            $($kind,)*
        }

        use Kind::*;

        const KINDS: &[Kind] = &[$($kind,)*];
    };
}

kinds! {
    LeavesThenCloses,
    ClosesByFrame,
    ClosesItsSession,
    Resets,
    HalfCloses,
    ResetsInItsHead,
    ResetsInItsBody,
    ResetsInItsHandshake,
    ResetsItsPoll,
    NeverPolls,
    ResetsBeforeItProbes,
    ResetsAfterItProbed,
    ResetsAfterItsUpgrade,
    IsRefused,
    IsDismissed,
    IsDismissedAndPolls,
    BreaksTheProtocol,
    Stalls,
}

/// `SOCKD_ENDINGS` connections in each of three rounds.
#[tokio::test]
async fn connections_of_every_kind_of_ending_leave_nothing_behind() {
    let count = std::env::var("SOCKD_ENDINGS").map_or(1_000, |count| {
        count.parse().expect("SOCKD_ENDINGS is a number")
    });
    let sockd = Sockd::builder()
        .env("SOCKD_LOG__LEVEL", "info")
        // So that clients that vanish are noticed soon, and no other is taken for one on a busy machine.
        .env("SOCKD_SOCKETIO__PING_INTERVAL", "3s")
        .env("SOCKD_SOCKETIO__PING_TIMEOUT", "8s")
        .start()
        .await;
    let sockd = Arc::new(sockd);
    let files = open_files(&sockd);
    let mut settled = None;
    for round in 0..3 {
        let start = Instant::now();
        let mut crowd = JoinSet::new();
        for first in 0..CROWD {
            let sockd = sockd.clone();
            crowd.spawn(async move {
                for number in (first..count).step_by(CROWD) {
                    end(&sockd, KINDS[number % KINDS.len()]).await;
                }
            });
        }
        crowd.join_all().await;
        eventually(LIMIT, "the end of all connections", async || {
            let text = sockd.metrics().await;
            ["sockd_sockets 0", "sockd_connections 0"]
                .iter()
                .all(|figure| text.lines().any(|line| line == *figure))
        })
        .await;
        // The one that asks is one of them.
        eventually(LIMIT, "the end of all streams", async || {
            sockd.metrics().await;
            open_files(&sockd) <= files + 2
        })
        .await;
        assert!(start.elapsed() < 10 * LIMIT, "round {round} takes for ever");
        match settled {
            // The first round warms the server up.
            None if round == 0 => {}
            None => settled = Some(sockd.resident_kib()),
            Some(before) => is_small_again(&sockd, before).await,
        }
    }
    sockd.log().lacks("panicked");
}

fn open_files(sockd: &Sockd) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", sockd.pid()));
    open.expect("it lives").count()
}

async fn end(sockd: &Sockd, kind: Kind) {
    let address = sockd.address();
    let (user, session) = (jwt::user(), jwt::session());
    let connect = jwt::connect(&jwt::token(&user, &session));
    let text = |text: &str| frame(0x81, text.as_bytes());
    let open = async || RawConnection::open(address).await;
    match kind {
        LeavesThenCloses => {
            let mut socket = join(sockd, &connect).await;
            socket.send([text("41"), text("1")].concat()).await;
            socket.read_to_end(LIMIT).await;
        }
        ClosesByFrame => {
            let mut socket = join(sockd, &connect).await;
            socket.send(frame(0x88, &[3, 232])).await;
            socket.read_to_end(LIMIT).await;
        }
        ClosesItsSession => {
            let mut polling = PollingSession::join(sockd, &connect).await;
            polling.post("1").await;
        }
        Resets => join(sockd, &connect).await.reset(),
        HalfCloses => {
            let mut socket = join(sockd, &connect).await;
            socket.half_close().await;
            socket.read_to_end(LIMIT).await;
        }
        ResetsInItsHead => {
            let mut stream = open().await;
            stream
                .send("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nho")
                .await;
            stream.reset();
        }
        ResetsInItsBody => {
            let mut polling = PollingSession::join(sockd, &connect).await;
            let head = polling.head("POST");
            polling
                .stream
                .send(format!("{head}content-length: 100\r\n\r\n42["))
                .await;
            polling.stream.reset();
        }
        ResetsInItsHandshake => {
            let mut socket = open_raw(address, "").await;
            socket.send(text(&connect)).await;
            socket.reset();
        }
        ResetsItsPoll => {
            let mut polling = PollingSession::join(sockd, &connect).await;
            let head = polling.head("GET");
            polling.stream.send(format!("{head}\r\n")).await;
            polling.stream.reset();
        }
        NeverPolls => drop(PollingSession::join(sockd, &connect).await),
        ResetsBeforeItProbes => {
            let polling = PollingSession::join(sockd, &connect).await;
            let mut stream = open().await;
            stream.send(upgrade(&polling.sid)).await;
            stream.reset();
        }
        ResetsAfterItProbed => {
            let polling = PollingSession::join(sockd, &connect).await;
            let mut socket = open_raw(address, &polling.sid).await;
            socket.send(text("2probe")).await;
            socket.expect(b"3probe").await;
            socket.reset();
        }
        ResetsAfterItsUpgrade => {
            let polling = PollingSession::join(sockd, &connect).await;
            let mut socket = open_raw(address, &polling.sid).await;
            socket.send([text("2probe"), text("5")].concat()).await;
            socket.expect(b"3probe").await;
            socket.reset();
        }
        IsRefused => {
            let mut socket = open_raw(address, "").await;
            socket.send(text(r#"40{"token":"bad"}"#)).await;
            socket.expect(b"TOKEN_INVALID\"}").await;
        }
        IsDismissed => {
            let mut socket = join(sockd, &connect).await;
            assert_eq!(sockd.force_logout(&user, &jwt::session()).await, 1);
            socket.expect(b"SESSION_REPLACED\"}]").await;
            socket.read_to_end(LIMIT).await;
        }
        IsDismissedAndPolls => {
            let polling = PollingSession::join(sockd, &connect).await;
            assert_eq!(sockd.force_logout(&user, &jwt::session()).await, 1);
            let poll = format!("{}{}", sockd.url(), polling.path);
            let farewell = http::get(&poll).await.text().await.expect("a body");
            // On a busy machine it may be too late: the farewell waits for a second.
            let is_over = farewell.contains("Session ID unknown");
            assert!(farewell.ends_with("41") || is_over, "{farewell}");
        }
        BreaksTheProtocol => {
            let mut socket = join(sockd, &connect).await;
            socket.send(b"\x81\x012").await;
            socket.read_to_end(LIMIT).await;
        }
        Stalls => {
            let mut socket = join(sockd, &connect).await;
            socket.read_to_end(LIMIT).await;
        }
    }
}

/// A WebSocket that has joined.
async fn join(sockd: &Sockd, connect: &str) -> RawConnection {
    let mut socket = open_raw(sockd.address(), "").await;
    socket.send(frame(0x81, connect.as_bytes())).await;
    socket.expect(b"40{\"sid\":\"").await;
    socket
}

/// A session that polls and has joined.
struct PollingSession {
    stream: RawConnection,
    sid: String,
    path: String,
}

impl PollingSession {
    async fn join(sockd: &Sockd, connect: &str) -> Self {
        let mut stream = RawConnection::open(sockd.address()).await;
        let path = "/socket.io/?EIO=4&transport=polling";
        stream
            .send(format!("GET {path} HTTP/1.1\r\nhost: sockd\r\n\r\n"))
            .await;
        let open = stream.read_answer().await;
        let (_, sid) = open.split_once("\"sid\":\"").expect("an open packet");
        let sid = sid[..20].to_owned();
        let path = format!("{path}&sid={sid}");
        let mut session = Self { stream, sid, path };
        session.post(connect).await;
        let head = session.head("GET");
        session.stream.send(format!("{head}\r\n")).await;
        let answer = session.stream.read_answer().await;
        assert!(answer.contains("40{\"sid\":\""), "{answer}");
        session
    }

    fn head(&self, method: &str) -> String {
        format!("{method} {} HTTP/1.1\r\nhost: sockd\r\n", self.path)
    }

    async fn post(&mut self, packets: &str) {
        let head = self.head("POST");
        let length = packets.len();
        self.stream
            .send(format!("{head}content-length: {length}\r\n\r\n{packets}"))
            .await;
        let answer = self.stream.read_answer().await;
        assert!(answer.ends_with("ok"), "{answer}");
    }
}
