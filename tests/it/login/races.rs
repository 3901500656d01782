//! Single login in races of handshakes, force-logouts, adoptions and events.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::{
    PATIENCE, jwt,
    redis::{Redis, heard_by},
    sockd::Sockd,
    websocket::{Came, TOLD, WebSocket},
};

/// Rounds of each race.
const ROUNDS: usize = 100;
const MISMATCH: &str = r#"44{"message":"SESSION_MISMATCH"}"#;

async fn asks(socket: &mut WebSocket, user: &str, session: &str) -> String {
    socket.connect(&jwt::token(user, session)).await
}

/// Runs the race on a node in memory, on a node with Redis, and on two nodes that share a Redis.
async fn each<F: AsyncFn(&Sockd, &Sockd)>(race: F) {
    let memory = Sockd::start().await;
    race(&memory, &memory).await;
    let redis = Redis::start().await;
    let (here, there) = (
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    );
    race(&here, &here).await;
    race(&here, &there).await;
}

/// A connection that has not joined yet.
async fn opened(address: SocketAddr) -> WebSocket {
    let mut socket = WebSocket::open(address).await;
    assert!(socket.packet().await.starts_with('0'));
    socket
}

/// Asserts that a socket is told why it is dismissed. These rounds do not wait for the end of its
/// connection.
async fn is_told(socket: &mut WebSocket) {
    assert_eq!(socket.packet().await, TOLD);
    assert_eq!(socket.packet().await, "41");
}

async fn live_sockets(sockd: &Sockd) -> usize {
    let text = sockd.metrics().await;
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("sockd_sockets "));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

/// What happened to a client that tries to join.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Refused,
    Dismissed,
    In,
}

/// Reads until the client is refused or dismissed, or receives the event.
async fn fate(socket: &mut WebSocket, marker: &str) -> Fate {
    let answer = socket.packet().await;
    if answer == MISMATCH {
        return Fate::Refused;
    }
    assert!(answer.starts_with(r#"40{"sid":""#), "{answer}");
    match socket.next(PATIENCE).await {
        Came::Packet(packet) if packet == TOLD => {
            assert_eq!(socket.packet().await, "41");
            Fate::Dismissed
        }
        Came::Packet(packet) if packet == marker => Fate::In,
        other => panic!("{other:?}"),
    }
}

fn connect(user: &str, session: &str) -> String {
    jwt::connect(&jwt::token(user, session))
}

#[tokio::test]
async fn an_old_session_never_stays_when_it_connects_while_it_is_replaced() {
    each(async |here, there| {
        for round in 0..ROUNDS {
            let (user, old, new) = (jwt::user(), jwt::session(), jwt::session());
            // In every other round the session is known already; else it is adopted in the race.
            let mut first = match round % 2 {
                0 => Some(WebSocket::join(there.address(), &user, &old).await),
                _ => None,
            };
            let (mut a, mut b) = (opened(here.address()).await, opened(there.address()).await);
            let late = connect(&user, &old);
            let connecting = async {
                a.send(late.clone()).await;
                b.send(late.clone()).await;
            };
            let replacing = async {
                for _ in 0..round % 7 {
                    tokio::task::yield_now().await;
                }
                here.force_logout(&user, &new).await
            };
            let ((), counted) = tokio::join!(connecting, replacing);
            here.emit(&user, "profile:update", &json!("after")).await;
            let fresh = WebSocket::join(there.address(), &user, &new).await;
            let marker = r#"42["profile:update","after"]"#;
            let mut dismissed = 0;
            for socket in [&mut a, &mut b] {
                match fate(socket, marker).await {
                    Fate::Refused => {}
                    Fate::Dismissed => dismissed += 1,
                    Fate::In => panic!("round {round}: an event reached the replaced session"),
                }
            }
            if let Some(first) = &mut first {
                assert_eq!(first.packet().await, TOLD);
                dismissed += 1;
            }
            assert_eq!(counted, dismissed, "round {round}");
            fresh.abandon();
        }
    })
    .await;
}

#[tokio::test]
async fn two_force_logouts_at_once_tell_and_count_a_socket_once() {
    each(async |here, there| {
        for round in 0..ROUNDS {
            let (user, old, left, right) =
                (jwt::user(), jwt::session(), jwt::session(), jwt::session());
            let mut sockets = [
                WebSocket::join(here.address(), &user, &old).await,
                WebSocket::join(there.address(), &user, &old).await,
                WebSocket::join(there.address(), &user, &old).await,
            ];
            let (a, b) = tokio::join!(
                here.force_logout(&user, &left),
                there.force_logout(&user, &right)
            );
            assert_eq!(a + b, 3, "round {round}: {a} and {b}");
            for socket in &mut sockets {
                is_told(socket).await;
            }
            // Exactly one of the two is the active session now.
            let (mut a, mut b) = (opened(here.address()).await, opened(there.address()).await);
            let (a, b) = (
                asks(&mut a, &user, &left).await,
                asks(&mut b, &user, &right).await,
            );
            assert_eq!(
                [&a, &b]
                    .into_iter()
                    .filter(|answer| *answer == MISMATCH)
                    .count(),
                1,
                "{a} {b}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_sessions_that_come_at_once_one_is_adopted() {
    each(async |here, there| {
        for round in 0..ROUNDS {
            let (user, left, right) = (jwt::user(), jwt::session(), jwt::session());
            let (mut a, mut b) = (opened(here.address()).await, opened(there.address()).await);
            let (a, b) = tokio::join!(asks(&mut a, &user, &left), asks(&mut b, &user, &right));
            let refused = [&a, &b]
                .into_iter()
                .filter(|answer| *answer == MISMATCH)
                .count();
            let admitted = [&a, &b]
                .into_iter()
                .filter(|answer| answer.starts_with("40{"))
                .count();
            assert_eq!((refused, admitted), (1, 1), "round {round}: {a} {b}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_after_an_answered_force_logout_never_reaches_the_replaced_session() {
    each(async |here, there| {
        for round in 0..ROUNDS {
            let (user, old, new) = (jwt::user(), jwt::session(), jwt::session());
            let mut sockets = [
                WebSocket::join(here.address(), &user, &old).await,
                WebSocket::join(there.address(), &user, &old).await,
            ];
            // Both have certainly joined once they receive an event.
            here.emit(&user, "profile:update", &json!("before")).await;
            for socket in &mut sockets {
                assert_eq!(socket.packet().await, r#"42["profile:update","before"]"#);
            }
            assert_eq!(here.force_logout(&user, &new).await, 2, "round {round}");
            let after = json!("after");
            tokio::join!(
                here.emit(&user, "profile:update", &after),
                there.emit(&user, "profile:update", &after),
            );
            for socket in &mut sockets {
                is_told(socket).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn another_session_is_adopted_over_a_lost_key_only_when_the_first_is_gone() {
    let redis = Redis::start().await;
    let (here, there) = (
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    );
    let mut seconds = Vec::new();
    for round in 0..ROUNDS {
        let adopting = if round % 2 == 0 { &here } else { &there };
        let (user, old, new) = (jwt::user(), jwt::session(), jwt::session());
        let mut first = [
            WebSocket::join(here.address(), &user, &old).await,
            WebSocket::join(there.address(), &user, &old).await,
        ];
        heard_by(&redis, &user, 2).await;
        match round % 3 {
            0 => redis.forget(&user),
            1 => redis.store(&user, "null", 100),
            _ => redis.store(&user, r#""""#, 100),
        }
        let mut second = WebSocket::join(adopting.address(), &user, &new).await;
        // By the time that it is in, the others are out.
        let live = live_sockets(&here).await + live_sockets(&there).await;
        assert_eq!(live, seconds.len() + 1, "round {round}");
        adopting
            .emit(&user, "profile:update", &json!("for the second"))
            .await;
        for socket in &mut first {
            is_told(socket).await;
        }
        assert_eq!(
            second.packet().await,
            r#"42["profile:update","for the second"]"#
        );
        seconds.push(second);
    }
}
