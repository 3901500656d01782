//! CONNECT and what follows it: one namespace, one socket, and events that sockd ignores.

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, jwt,
    polling::Polling,
    sockd::Sockd,
    websocket::{Came, WebSocket},
};

fn connect_packet(user: &str, session: &str) -> String {
    jwt::connect(&jwt::token(user, session))
}

fn assert_is_welcome(answer: &str) {
    let welcome: Value = serde_json::from_str(answer.strip_prefix("40").expect("a CONNECT"))
        .unwrap_or_else(|error| panic!("{answer}: {error}"));
    let sid = welcome["sid"].as_str().expect("a sid");
    assert_eq!(answer, format!(r#"40{{"sid":"{sid}"}}"#));
}

/// All that the server sends in response to earlier packets comes before this event.
async fn assert_nothing_before_an_event(sockd: &Sockd, user: &str, socket: &mut WebSocket) {
    sockd.emit(user, "profile:update", &json!("marker")).await;
    assert_eq!(socket.packet().await, r#"42["profile:update","marker"]"#);
}

#[tokio::test]
async fn connect_is_answered_with_only_the_sid() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    for packet in [
        connect_packet(&user, &session),
        connect_packet(&user, &session).replacen("40", "40/,", 1),
    ] {
        let mut websocket = WebSocket::open(sockd.address()).await;
        websocket.packet().await;
        websocket.send(&packet).await;
        assert_is_welcome(&websocket.packet().await);
        let mut polling = Polling::open(sockd.address()).await;
        polling.send(&packet).await;
        assert_is_welcome(&polling.packet().await);
    }
}

#[tokio::test]
async fn a_refusal_has_only_a_message_and_a_better_token_gets_in() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    let mut polling = Polling::open(sockd.address()).await;
    for (packet, answer) in [
        ("40", r#"44{"message":"TOKEN_MISSING"}"#),
        ("40{}", r#"44{"message":"TOKEN_MISSING"}"#),
        (r#"40{"token":"no"}"#, r#"44{"message":"TOKEN_INVALID"}"#),
    ] {
        websocket.send(packet).await;
        assert_eq!(websocket.packet().await, answer);
        polling.send(packet).await;
        assert_eq!(polling.packet().await, answer);
    }
    websocket.send(connect_packet(&user, &session)).await;
    assert_is_welcome(&websocket.packet().await);
    polling.send(&connect_packet(&user, &session)).await;
    assert_is_welcome(&polling.packet().await);
    assert_nothing_before_an_event(&sockd, &user, &mut websocket).await;
    assert_eq!(polling.packet().await, r#"42["profile:update","marker"]"#);
}

#[tokio::test]
async fn another_namespace_is_refused_and_the_main_socket_stays() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    for (packet, name) in [
        ("40/admin,".to_owned(), "/admin"),
        ("40/admin".to_owned(), "/admin"),
        ("40/admin,{\"token\":\"x\"}".to_owned(), "/admin"),
        ("40/ünïcode,".to_owned(), "/ünïcode"),
    ] {
        let answer = format!(r#"44{name},{{"message":"Invalid namespace"}}"#);
        websocket.send(&packet).await;
        assert_eq!(websocket.packet().await, answer);
        polling.send(&packet).await;
        assert_eq!(polling.packet().await, answer);
    }
    assert_nothing_before_an_event(&sockd, &user, &mut websocket).await;
    assert_eq!(polling.packet().await, r#"42["profile:update","marker"]"#);
}

#[tokio::test]
async fn another_namespace_may_be_asked_for_before_the_main_one() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    websocket.send("40/admin,").await;
    assert_eq!(
        websocket.packet().await,
        r#"44/admin,{"message":"Invalid namespace"}"#
    );
    websocket.send(connect_packet(&user, &session)).await;
    assert_is_welcome(&websocket.packet().await);
}

#[tokio::test]
async fn events_of_clients_are_ignored_and_their_connection_stays() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut sender = WebSocket::join(sockd.address(), &user, &session).await;
    let mut sibling = WebSocket::join(sockd.address(), &user, &session).await;
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    let stranger = jwt::user();
    let mut other = WebSocket::join(sockd.address(), &stranger, &jwt::session()).await;
    let deep = format!("42[\"deep\",{}{}]", "[".repeat(400), "]".repeat(400));
    let texts = [
        r#"42["profile:update",{"a":1}]"#,
        r#"42["auth:logout"]"#,
        r#"420["with:ack",1]"#,
        r#"4217["with:ack"]"#,
        r#"42["message","ünïcode \u0000 \ud83d\ude00"]"#,
        r#"4342[]"#,
        &deep,
    ];
    for text in texts {
        sender.send(text).await;
        polling.send(text).await;
    }
    // Two attachments, with an ack and without.
    for head in [r#"452-["#, r#"452-7["#] {
        let head = format!(
            r#"{head}"file",{{"_placeholder":true,"num":0}},{{"_placeholder":true,"num":1}}]"#
        );
        sender.send(&head).await;
        sender.send_binary(vec![0, 1, 255]).await;
        sender.send_binary(Vec::new()).await;
        polling.send(&format!("{head}\u{1e}bAAH/\u{1e}b")).await;
    }
    assert_nothing_before_an_event(&sockd, &user, &mut sender).await;
    let marker = r#"42["profile:update","marker"]"#;
    assert_eq!(sibling.packet().await, marker);
    assert_eq!(polling.packet().await, marker);
    assert_nothing_before_an_event(&sockd, &stranger, &mut other).await;
}

#[tokio::test]
async fn two_connects_sent_at_once_make_one_socket() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let connect = connect_packet(&user, &session);
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    websocket.send(&connect).await;
    websocket.send(&connect).await;
    let mut polling = Polling::open(sockd.address()).await;
    polling.send(&format!("{connect}\u{1e}{connect}")).await;
    assert_is_welcome(&websocket.packet().await);
    assert_is_welcome(&polling.packet().await);
    assert_nothing_before_an_event(&sockd, &user, &mut websocket).await;
    assert_eq!(polling.packet().await, r#"42["profile:update","marker"]"#);
    // Once more, now that both are in.
    websocket.send(&connect).await;
    polling.send(&connect).await;
    assert_nothing_before_an_event(&sockd, &user, &mut websocket).await;
    assert_eq!(polling.packet().await, r#"42["profile:update","marker"]"#);
    assert_eq!(sockd.force_logout(&user, &jwt::session()).await, 2);
}

#[tokio::test]
async fn two_connects_sent_at_once_cannot_let_two_users_in() {
    let sockd = Sockd::start().await;
    let (first, second) = (jwt::user(), jwt::user());
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    for user in [&first, &second] {
        websocket.send(connect_packet(user, &jwt::session())).await;
    }
    assert_is_welcome(&websocket.packet().await);
    let mut logged_out = 0;
    for user in [&first, &second] {
        logged_out += sockd.force_logout(user, &jwt::session()).await;
    }
    assert_eq!(logged_out, 1);
}

#[tokio::test]
async fn a_client_that_left_the_namespace_may_come_back_on_its_connection() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    websocket.send("41").await;
    websocket.send(connect_packet(&user, &session)).await;
    assert_is_welcome(&websocket.packet().await);
    assert_nothing_before_an_event(&sockd, &user, &mut websocket).await;
    assert_eq!(sockd.force_logout(&user, &jwt::session()).await, 1);
}

#[tokio::test]
async fn a_flood_of_connects_without_a_token_ends_its_connection_and_starves_nobody() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut bystander = WebSocket::join(sockd.address(), &user, &session).await;
    let flood = async {
        for _ in 0..20 {
            let mut websocket = WebSocket::open(sockd.address()).await;
            websocket.packet().await;
            while websocket.try_send("40").await {}
            while !matches!(websocket.next(PATIENCE).await, Came::Closed(_)) {}
        }
    };
    let polling_flood = async {
        let polling = Polling::open(sockd.address()).await;
        polling.post(vec!["40"; 300_000].join("\u{1e}")).await;
        while polling.poll().await.status() == 200 {}
    };
    let others = async {
        for _ in 0..20 {
            let mut newcomer = WebSocket::join(sockd.address(), &user, &session).await;
            sockd.emit(&user, "profile:update", &json!(1)).await;
            let event = r#"42["profile:update",1]"#;
            assert_eq!(bystander.packet().await, event);
            assert_eq!(newcomer.packet().await, event);
        }
    };
    tokio::join!(flood, polling_flood, others);
}
