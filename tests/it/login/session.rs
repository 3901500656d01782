//! Which session of a user may come in, with its key in Redis.

use redis::Commands;
use serde_json::json;

use crate::support::{jwt, polling::Polling, redis::Redis, sockd::Sockd, websocket::WebSocket};

#[tokio::test]
async fn the_first_session_is_adopted_and_stored_as_json() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    WebSocket::join(sockd.address(), &user, &session).await;
    assert_eq!(redis.stored(&user), Some(format!("\"{session}\"")));
    assert!(redis.is_renewed(&user), "{}", redis.ttl(&user));
}

#[tokio::test]
async fn the_active_session_gets_in_again_and_its_ttl_is_renewed() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    redis.store(&user, &format!("\"{session}\""), 100);
    Polling::join(sockd.address(), &user, &session).await;
    assert!(redis.is_renewed(&user), "{}", redis.ttl(&user));
}

#[tokio::test]
async fn another_session_is_refused_and_leaves_no_trace() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    redis.store(&user, &format!("\"{session}\""), 100);
    let mut socket = WebSocket::open(sockd.address()).await;
    socket.packet().await;
    let answer = socket.connect(&jwt::token(&user, &jwt::session())).await;
    assert_eq!(answer, r#"44{"message":"SESSION_MISMATCH"}"#);
    assert_eq!(redis.stored(&user), Some(format!("\"{session}\"")));
    assert!(redis.ttl(&user) <= 100);
}

/// The response to a CONNECT of the session.
async fn answer(sockd: &Sockd, user: &str, session: &str) -> String {
    let mut socket = WebSocket::open(sockd.address()).await;
    socket.packet().await;
    socket.connect(&jwt::token(user, session)).await
}

#[tokio::test]
async fn the_value_of_the_key_decides() {
    const IN: &str = "40{";
    const MISMATCH: &str = r#"44{"message":"SESSION_MISMATCH"}"#;
    const UNAVAILABLE: &str = r#"44{"message":"AUTH_UNAVAILABLE"}"#;
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let session = jwt::session();
    let json = format!("\"{session}\"");
    let escaped = format!("\"\\u{:04x}{}\"", session.as_bytes()[0], &session[1..]);
    let upper = json.to_uppercase();
    let another = format!("\"{}\"", jwt::session());
    for (stored, expected) in [
        (&*json, IN),
        (&*escaped, IN),
        (&*format!(" {json}\n"), IN),
        ("null", IN),
        (" null ", IN),
        ("\"\"", IN),
        (&*another, MISMATCH),
        (&*upper, MISMATCH),
        ("\" \"", MISMATCH),
        ("\"not a session\"", MISMATCH),
        ("7", MISMATCH),
        ("0", MISMATCH),
        ("false", MISMATCH),
        ("{}", MISMATCH),
        (&*format!("[{json}]"), MISMATCH),
        (&*session, UNAVAILABLE),
        ("", UNAVAILABLE),
        ("nonsense", UNAVAILABLE),
        ("\"open", UNAVAILABLE),
        (&*format!("{json}{json}"), UNAVAILABLE),
        ("'x'", UNAVAILABLE),
    ] {
        let user = jwt::user();
        redis.store(&user, stored, 100);
        let found = answer(&sockd, &user, &session).await;
        assert!(found.starts_with(expected), "{stored}: {found}");
        let kept = redis.stored(&user);
        if expected == IN {
            assert!(redis.is_renewed(&user), "{stored}: {}", redis.ttl(&user));
            let adopted = stored.contains("null") || stored == "\"\"";
            let expected = if adopted { &*json } else { stored };
            assert_eq!(kept.as_deref(), Some(expected), "{stored}");
        } else {
            let ttl = redis.ttl(&user);
            assert!((1..=100).contains(&ttl), "{stored}: {ttl}");
            assert_eq!(kept.as_deref(), Some(stored));
        }
    }
}

#[tokio::test]
async fn a_key_of_another_type_is_left_alone() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let key = format!("socket:active_session:{user}");
    let () = redis
        .connection()
        .rpush(&key, &session)
        .expect("RPUSH works");
    let found = answer(&sockd, &user, &session).await;
    assert_eq!(found, r#"44{"message":"AUTH_UNAVAILABLE"}"#);
    let list: Vec<String> = redis.connection().lrange(&key, 0, -1).expect("a list");
    assert_eq!(list, [session]);
    assert_eq!(redis.ttl(&user), -1);
}

#[tokio::test]
async fn of_racing_sessions_exactly_one_wins() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    for _ in 0..10 {
        let user = jwt::user();
        let sessions: Vec<_> = (0..6).map(|_| jwt::session()).collect();
        let mut sockets = Vec::new();
        for _ in &sessions {
            let mut socket = WebSocket::open(sockd.address()).await;
            socket.packet().await;
            sockets.push(socket);
        }
        let racers = sockets
            .iter_mut()
            .zip(&sessions)
            .map(async |(socket, session)| {
                let connect = jwt::connect(&jwt::token(&user, session));
                socket.send(connect).await;
            });
        futures_util::future::join_all(racers).await;
        let mut winners = Vec::new();
        for (socket, session) in sockets.iter_mut().zip(&sessions) {
            match socket.packet().await.as_str() {
                r#"44{"message":"SESSION_MISMATCH"}"# => {}
                welcome => {
                    assert!(welcome.starts_with("40{"), "{welcome}");
                    winners.push(session);
                }
            }
        }
        let [winner] = winners[..] else {
            panic!("{} of {} won", winners.len(), sessions.len());
        };
        assert_eq!(redis.stored(&user), Some(format!("\"{winner}\"")));
    }
}

#[tokio::test]
async fn the_active_session_may_have_any_number_of_sockets() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(WebSocket::join(sockd.address(), &user, &session).await);
    }
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    sockd
        .emit(&user, "profile:update", &json!({ "a": 1 }))
        .await;
    let event = r#"42["profile:update",{"a":1}]"#;
    for socket in &mut sockets {
        assert_eq!(socket.packet().await, event);
    }
    assert_eq!(polling.packet().await, event);
    assert_eq!(sockd.force_logout(&user, &jwt::session()).await, 21);
}

#[tokio::test]
async fn a_bad_token_leaves_redis_alone() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let user = jwt::user();
    let expired = json!({ "user_id": user, "session_id": jwt::session(), "exp": 1 });
    let mut socket = WebSocket::open(sockd.address()).await;
    socket.packet().await;
    let answer = socket.connect(&jwt::sign(&expired)).await;
    assert_eq!(answer, r#"44{"message":"TOKEN_INVALID"}"#);
    assert_eq!(redis.stored(&user), None);
}
