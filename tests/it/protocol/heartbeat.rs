//! Pings, and how clients that do not answer them are closed.

use std::time::{Duration, Instant};

use crate::support::{
    PATIENCE, jwt,
    polling::Polling,
    sockd::Sockd,
    websocket::{Came, WebSocket},
};

#[tokio::test]
async fn the_first_ping_comes_after_its_interval() {
    const INTERVAL: Duration = Duration::from_millis(700);
    let sockd = Sockd::builder()
        .env("SOCKD_SOCKETIO__PING_INTERVAL", "700ms")
        .start()
        .await;
    let start = Instant::now();
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.ignore_pings();
    websocket.packet().await;
    assert_eq!(websocket.packet().await, "2");
    assert!(start.elapsed() >= INTERVAL, "{:?}", start.elapsed());
    let start = Instant::now();
    let polling = Polling::open(sockd.address()).await;
    for _ in 0..2 {
        assert_eq!(polling.poll().await.text().await.expect("a body"), "2");
        polling.send("3").await;
    }
    assert!(start.elapsed() >= 2 * INTERVAL, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_client_that_answers_pings_stays_and_one_that_does_not_is_closed() {
    let sockd = Sockd::builder()
        .env("SOCKD_SOCKETIO__PING_INTERVAL", "300ms")
        .env("SOCKD_SOCKETIO__PING_TIMEOUT", "6s")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut lively = WebSocket::open(sockd.address()).await;
    let open = lively.packet().await;
    assert!(
        open.contains(r#""pingInterval":300,"pingTimeout":6000,"#),
        "{open}"
    );
    assert!(
        lively
            .connect(&jwt::token(&user, &session))
            .await
            .starts_with("40")
    );
    let mut polling = Polling::join(sockd.address(), &user, &session).await;

    let start = Instant::now();
    let mut silent = WebSocket::join(sockd.address(), &user, &session).await;
    silent.ignore_pings();
    let live_on = async {
        // What keeps these two alive is that they read, and answer the pings among it.
        tokio::join!(lively.packet(), polling.packet())
    };
    let die = async {
        assert_eq!(silent.next(PATIENCE).await, Came::Packet("2".into()));
        loop {
            match silent.next(PATIENCE).await {
                Came::Packet(packet) => assert!(packet == "2" || packet == "1", "{packet}"),
                Came::Binary(_) => panic!("bytes"),
                Came::Closed(_) => break,
            }
        }
        let lived = start.elapsed();
        assert!(lived >= Duration::from_secs(6), "{lived:?}");
        // The others have answered several pings by now.
        sockd
            .emit(&user, "profile:update", &serde_json::json!(1))
            .await;
    };
    let ((websocket, polling), ()) = tokio::join!(live_on, die);
    assert_eq!(websocket, r#"42["profile:update",1]"#);
    assert_eq!(polling, websocket);
}

#[tokio::test]
async fn a_polling_client_that_ignores_pings_loses_its_session() {
    let sockd = Sockd::builder()
        .env("SOCKD_SOCKETIO__PING_INTERVAL", "200ms")
        .env("SOCKD_SOCKETIO__PING_TIMEOUT", "300ms")
        .start()
        .await;
    let mut polling = Polling::open(sockd.address()).await;
    polling.ignore_pings();
    let refusal = loop {
        match polling.next().await {
            Ok(packet) => assert!(packet == "2" || packet == "1", "{packet}"),
            Err(refusal) => break refusal,
        }
    };
    assert!(
        refusal.contains(r#"{"code":1,"message":"Session ID unknown"}"#),
        "{refusal}"
    );
}
