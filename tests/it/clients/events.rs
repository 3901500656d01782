//! What arrives of an event in a stock client, and what becomes of events that clients send.

use serde_json::{Value, json};

use super::{Client, Crowd, POLLING, UPGRADE, every_client};
use crate::support::{
    PATIENCE, eventually, http, jwt,
    sockd::{INTERNAL_SECRET, Sockd},
};

/// A payload as a backend writes it, and what `JSON.stringify` makes of what JavaScript has read.
const AS_JAVASCRIPT_READS: &[(&str, &str)] = &[
    ("null", "null"),
    ("true", "true"),
    ("0", "0"),
    ("-0", "0"),
    ("1.0", "1"),
    ("1E2", "100"),
    ("0.1", "0.1"),
    ("9007199254740991", "9007199254740991"),
    ("9007199254740992", "9007199254740992"),
    ("9007199254740993", "9007199254740992"),
    ("-9007199254740993", "-9007199254740992"),
    ("18446744073709551616", "18446744073709552000"),
    ("123456789012345678901234567890", "1.2345678901234568e+29"),
    ("1e400", "null"),
    ("5e-324", "5e-324"),
    (r#""""#, r#""""#),
    (r#""ä€🎈 \u00e4\ud83c\udf88""#, r#""ä€🎈 ä🎈""#),
    (r#""\ud800""#, r#""\ud800""#),
    (
        r#""\u0000\u001e\u2028\"\\\/""#,
        "\"\\u0000\\u001e\u{2028}\\\"\\\\/\"",
    ),
    ("\"\u{2028}\u{7f}\"", "\"\u{2028}\u{7f}\""),
    ("[]", "[]"),
    (" [ 1 , [ 2 , { } ] ] ", "[1,[2,{}]]"),
    (
        r#"{"a":{"b":[null,{"c":"d"}]}}"#,
        r#"{"a":{"b":[null,{"c":"d"}]}}"#,
    ),
    (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
    (r#"{"b":1,"a":2,"7":3}"#, r#"{"7":3,"b":1,"a":2}"#),
    (
        r#"{"_placeholder":true,"num":0}"#,
        r#"{"_placeholder":true,"num":0}"#,
    ),
];

#[tokio::test]
async fn a_payload_arrives_as_javascript_reads_it() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    for (sent, read) in AS_JAVASCRIPT_READS {
        emit_raw(&sockd, &user, sent).await;
        for client in &clients {
            let report = crowd.next(client).await;
            assert_eq!(report["name"], "profile:update", "{}: {report}", client.id);
            let arguments = report["args"].as_str().expect("JSON");
            if !client.is_python() {
                assert_eq!(arguments, format!("[{read}]"), "{}: {sent}", client.id);
            } else {
                // What Python can hold it keeps as it was sent.
                let value = |text: &str| serde_json::from_str::<Value>(text).ok();
                let heard = value(arguments).map(|mut arguments| arguments[0].take());
                assert!(heard == value(sent) || heard == value(read), "{arguments}");
            }
        }
    }
}

#[tokio::test]
async fn a_payload_may_be_large() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    let payload = "ä€🎈".repeat(100_000);
    assert_eq!(payload.len(), 900_000);
    emit_raw(&sockd, &user, &format!("\"{payload}\"")).await;
    for client in &clients {
        let report = crowd.next(client).await;
        let arguments = report["args"].as_str().expect("JSON");
        let [argument]: [String; 1] = serde_json::from_str(arguments).expect("one text");
        assert!(argument == payload, "{}", client.id);
    }
}

#[tokio::test]
async fn a_payload_may_be_deep() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut crowd = Crowd::start().await;
    let mut clients = every_client();
    // Python's own reader stops at a thousand levels.
    clients.retain(|client| !client.is_python());
    let options = json!({ "auth": { "token": jwt::token(&user, &session) } });
    for client in &clients {
        crowd.connect(client, &sockd.url(), &options);
    }
    for client in &clients {
        crowd.joined(client).await;
    }
    let payload = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    emit_raw(&sockd, &user, &payload).await;
    for client in &clients {
        let report = crowd.next(client).await;
        assert!(report["args"] == format!("[{payload}]"), "{}", client.id);
    }
}

#[tokio::test]
async fn events_keep_their_order_while_a_client_upgrades() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut crowd = Crowd::start().await;
    let mut clients = every_client();
    clients.retain(|client| client.transports == UPGRADE);
    let options = json!({ "auth": { "token": jwt::token(&user, &session) } });
    for client in &clients {
        crowd.connect(client, &sockd.url(), &options);
    }
    let mut sent = 0_u64;
    let emit_on_and_on = async {
        loop {
            sockd.emit(&user, "profile:update", &json!(sent)).await;
            sent += 1;
        }
    };
    let hear_some = async {
        let mut heard = Vec::new();
        for client in &clients {
            heard.push(numbers_around_the_upgrade(&mut crowd, client).await);
        }
        heard
    };
    let heard = tokio::select! {
        heard = hear_some => heard,
        () = emit_on_and_on => unreachable!("it has no end"),
    };
    sockd.emit(&user, "account:update", &json!("end")).await;
    for (client, mut heard) in clients.iter().zip(heard) {
        loop {
            let report = crowd.next(client).await;
            if report["name"] == "account:update" {
                break;
            }
            heard.push(number(&report));
        }
        let first = heard[0];
        let all: Vec<_> = (first..first + heard.len() as u64).collect();
        assert_eq!(heard, all, "{}", client.id);
        // The last may have been on its way when we stopped to emit.
        assert!(heard.last() >= Some(&(sent - 1)), "{}", client.id);
    }
}

/// The events that a client gets until it has upgraded and got more.
async fn numbers_around_the_upgrade(crowd: &mut Crowd, client: &Client) -> Vec<u64> {
    let mut heard = Vec::new();
    let mut has_upgraded = client.is_python();
    loop {
        let report = crowd.next(client).await;
        match report["on"].as_str() {
            Some("event") => heard.push(number(&report)),
            Some("upgrade") => has_upgraded = true,
            _ => assert_eq!(report["on"], "connect", "{}: {report}", client.id),
        }
        if has_upgraded && report["on"] == "event" {
            return heard;
        }
    }
}

fn number(report: &Value) -> u64 {
    let arguments = report["args"].as_str().expect("JSON");
    let [number] = serde_json::from_str(arguments).expect("one number");
    number
}

#[tokio::test]
async fn events_from_clients_are_ignored() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    let options = json!({ "auth": { "token": jwt::token(&user, &session) } });
    let mut senders = every_client();
    // It may lose its last packets when it is told to disconnect.
    senders.retain(|sender| !sender.is_python() || sender.transports != POLLING);
    for sender in &mut senders {
        sender.id = format!("{} sending", sender.id);
        crowd.connect(sender, &sockd.url(), &options);
    }
    let sent = [
        json!({ "event": "profile:update", "args": [{ "forged": true }] }),
        json!({ "event": "auth:logout", "args": [] }),
        json!({ "event": "message", "args": ["a", 1, null] }),
    ];
    for sender in &senders {
        crowd.joined(sender).await;
        for event in &sent {
            crowd.of(sender).order(&sender.id, "emit", event.clone());
        }
        crowd.of(sender).order(&sender.id, "disconnect", json!({}));
    }
    // Nothing came to them, and once they have gone the server has read all that they sent.
    for sender in &senders {
        assert_eq!(
            crowd.next(sender).await["on"],
            "disconnect",
            "{}",
            sender.id
        );
    }
    eventually(PATIENCE, "the end of the senders", || async {
        sockd.figure("sockd_sockets").await == clients.len() as f64
    })
    .await;
    sockd.emit(&user, "account:update", &json!("marker")).await;
    for client in &clients {
        crowd
            .hears(client, "account:update", &json!("marker"))
            .await;
    }
}

/// Emits a payload exactly as it is written.
async fn emit_raw(sockd: &Sockd, user: &str, payload: &str) {
    let body = format!(r#"{{"userId":"{user}","event":"profile:update","payload":{payload}}}"#);
    let answer = http::client()
        .post(format!("{}/internal/emit", sockd.url()))
        .bearer_auth(INTERNAL_SECRET)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .expect("the server answers");
    assert_eq!(
        answer.status(),
        200,
        "{}",
        &payload[..payload.len().min(80)]
    );
}
