//! A socket is closed when its token expires.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::{
    PATIENCE, eventually, jwt,
    polling::Polling,
    sockd::Sockd,
    websocket::{Came, WebSocket},
};

/// Seconds until a token expires: enough to join with it on a busy machine.
const SOON: u64 = 10;
const EXPIRED: &str = r#"42["auth:expired",{"reason":"TOKEN_EXPIRED"}]"#;

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
}

fn token(user: &str, session: &str, expires_at: f64) -> String {
    jwt::sign(&json!({ "user_id": user, "session_id": session, "exp": expires_at }))
}

/// How long after the moment it is now.
fn after(moment: f64) -> f64 {
    now().as_secs_f64() - moment
}

#[tokio::test]
async fn a_socket_is_told_that_its_token_expired_and_closed_within_five_seconds() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut lasting = WebSocket::join(sockd.address(), &user, &session).await;
    let expires_at = (now().as_secs() + SOON) as f64;
    let websocket = async {
        let mut websocket = WebSocket::open(sockd.address()).await;
        websocket.packet().await;
        // A fractional `exp` lasts until the end of its second.
        let answer = websocket
            .connect(&token(&user, &session, expires_at - 0.5))
            .await;
        assert!(answer.starts_with("40{"), "{answer}");
        assert_eq!(websocket.packet().await, EXPIRED);
        assert!(after(expires_at) >= 0.0);
        assert_eq!(websocket.packet().await, "41");
        while let Came::Packet(packet) = websocket.next(PATIENCE).await {
            assert_eq!(packet, "1");
        }
        after(expires_at)
    };
    let polling = async {
        let mut polling = Polling::open(sockd.address()).await;
        let answer = polling.connect(&token(&user, &session, expires_at)).await;
        assert!(answer.starts_with("40{"), "{answer}");
        assert_eq!(polling.packet().await, EXPIRED);
        assert!(after(expires_at) >= 0.0);
        assert_eq!(polling.packet().await, "41");
        while polling.next().await.is_ok() {}
        after(expires_at)
    };
    let (websocket, polling) = tokio::join!(websocket, polling);
    assert!(websocket < 5.0, "closed {websocket} s after the end");
    assert!(polling < 5.0, "closed {polling} s after the end");
    // A socket of the same session whose token is still valid stays.
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(lasting.packet().await, r#"42["profile:update",1]"#);
    // The token is no longer good for a new one either.
    let mut late = WebSocket::open(sockd.address()).await;
    late.packet().await;
    assert_eq!(
        late.connect(&token(&user, &session, expires_at)).await,
        r#"44{"message":"TOKEN_INVALID"}"#
    );
}

#[tokio::test]
async fn a_socket_that_reads_nothing_is_closed_in_time_as_well() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let polling = Polling::open(sockd.address()).await;
    let expires_at = (now().as_secs() + SOON) as f64;
    let connect = jwt::connect(&token(&user, &session, expires_at));
    polling.send(&connect).await;
    let sockets = async || {
        let text = sockd.metrics().await;
        let line = text.lines().find(|line| line.starts_with("sockd_sockets "));
        line.map(str::to_owned)
    };
    eventually(PATIENCE, "the socket", || async {
        sockets().await.as_deref() == Some("sockd_sockets 1")
    })
    .await;
    // It no longer polls: the session itself must end. A POST checks that the connection exists, and
    // reads nothing of what is queued.
    eventually(PATIENCE, "the end of the session", async || {
        polling.post("3".to_owned()).await.status() != 200
    })
    .await;
    let late = after(expires_at);
    assert!((0.0..5.0).contains(&late), "closed {late} s after the end");
}

#[tokio::test]
async fn a_socket_may_be_kept_past_its_token() {
    let sockd = Sockd::builder()
        .env("SOCKD_AUTH__ON_EXPIRY", "keep")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    let expires_at = (now().as_secs() + SOON) as f64;
    let answer = websocket.connect(&token(&user, &session, expires_at)).await;
    assert!(answer.starts_with("40{"), "{answer}");
    // Events up to three seconds past the end show that nothing else came in between.
    while after(expires_at) < 3.0 {
        sockd.emit(&user, "profile:update", &json!(1)).await;
        assert_eq!(websocket.packet().await, r#"42["profile:update",1]"#);
        // Other tests need the processor too.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_socket_whose_token_expires_in_centuries_stays() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let join = async |expires_at: f64| {
        let mut websocket = WebSocket::open(sockd.address()).await;
        websocket.packet().await;
        let answer = websocket.connect(&token(&user, &session, expires_at)).await;
        assert!(answer.starts_with("40{"), "{answer}");
        websocket
    };
    let mut lasting = Vec::new();
    for expires_at in [9e15, 1e300, 4_294_967_296.0] {
        lasting.push(join(expires_at).await);
    }
    // Once an expired token has ended its socket, sockd has checked the others too.
    let mut expiring = join((now().as_secs() + SOON) as f64).await;
    assert_eq!(expiring.packet().await, EXPIRED);
    sockd.emit(&user, "profile:update", &json!(1)).await;
    for socket in &mut lasting {
        assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
    }
}
