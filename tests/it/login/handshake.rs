//! Where a handshake finds the token, and in which order.

use serde_json::{Value, json};

use crate::support::{jwt, polling::Polling, sockd::Sockd, websocket::WebSocket};

const IN: &str = "in";
const MISSING: &str = "TOKEN_MISSING";
const INVALID: &str = "TOKEN_INVALID";

/// The response to a CONNECT with this payload: `in`, or why not. Both transports return the same.
pub(crate) async fn verdict(
    sockd: &Sockd,
    query: &str,
    headers: &[(&'static str, &str)],
    auth: &Value,
) -> String {
    let connect = match auth {
        Value::Null => "40".to_owned(),
        auth => format!("40{auth}"),
    };
    let mut websocket = WebSocket::open_with(sockd.address(), query, headers).await;
    websocket.packet().await;
    websocket.send(&connect).await;
    let answer = websocket.packet().await;
    let mut polling = Polling::open_with(sockd.address(), query, headers).await;
    polling.send(&connect).await;
    assert_eq!(answer.get(..3), polling.packet().await.get(..3));
    if answer.starts_with("40{") {
        return IN.to_owned();
    }
    let refusal: Value =
        serde_json::from_str(answer.strip_prefix("44").expect("a refusal")).expect("JSON");
    assert_eq!(refusal.as_object().expect("an object").len(), 1, "{answer}");
    refusal["message"].as_str().expect("a message").to_owned()
}

fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn a_token_is_read_from_the_payload_then_the_header_then_the_query() {
    let sockd = Sockd::start().await;
    let good = jwt::token(&jwt::user(), &jwt::session());
    let good = good.as_str();
    // The good token in one place, and in the others nothing, what counts as nothing, or a bad one.
    for (auth, header, query, expected) in [
        (json!(null), "", "", MISSING),
        (json!({ "token": good }), "", "", IN),
        (json!(null), good, "", IN),
        (json!(null), "", good, IN),
        (json!({ "token": good }), "bad", "bad", IN),
        (json!({ "token": "bad" }), good, good, INVALID),
        (json!({}), good, "bad", IN),
        (json!({}), "bad", good, INVALID),
        (json!({ "token": "" }), "", good, IN),
        (json!({ "token": " \t\n" }), good, "", IN),
        (json!({ "token": "\u{feff}\u{a0}" }), good, "", IN),
        (json!({ "token": null }), good, "", IN),
        (json!({ "token": 7 }), good, "", IN),
        (json!({ "token": true }), "", good, IN),
        (json!({ "token": {} }), good, "", IN),
        (json!({ "Token": "bad" }), good, "", IN),
        (json!({ "token": [] }), good, "", IN),
        (json!({ "token": [good, "bad"] }), "bad", "", IN),
        (json!({ "token": ["bad", good] }), good, "", INVALID),
        (json!({ "token": ["", "bad"] }), good, "", IN),
        (json!({ "token": [7, "bad"] }), good, "", IN),
        (json!({ "token": [[good]] }), "", "", MISSING),
    ] {
        let headers: Vec<_> = [("authorization", header)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let query = match query {
            "" => String::new(),
            query => format!("&token={}", encode(query)),
        };
        let found = verdict(&sockd, &query, &headers, &auth).await;
        let case = format!("{auth} {header} {query}").replace(good, "GOOD");
        assert_eq!(found, expected, "{case}");
    }
}

#[tokio::test]
async fn of_a_repeated_query_key_the_first_counts() {
    let sockd = Sockd::start().await;
    let good = jwt::token(&jwt::user(), &jwt::session());
    for (query, expected) in [
        (format!("&token={good}&token=bad"), IN),
        (format!("&token=bad&token={good}"), INVALID),
        (format!("&token=&token={good}"), MISSING),
        (format!("&token=%20&token={good}"), MISSING),
        (format!("&token[]={good}"), MISSING),
        (format!("&TOKEN={good}"), MISSING),
        (format!("&token=%20{good}%20"), IN),
        (format!("&token=Bearer+{good}"), IN),
    ] {
        let found = verdict(&sockd, &query, &[], &Value::Null).await;
        assert_eq!(found, expected, "{}", query.replace(&good, "GOOD"));
    }
}

#[tokio::test]
async fn a_scheme_without_a_token_is_not_a_token() {
    let sockd = Sockd::start().await;
    let good = jwt::token(&jwt::user(), &jwt::session());
    for (form, expected) in [
        ("GOOD", IN),
        ("  GOOD\n", IN),
        ("Bearer GOOD", IN),
        ("bearer GOOD", IN),
        ("BEARER \t  GOOD  ", IN),
        ("Bearer\u{a0}GOOD", IN),
        ("Bearer", INVALID),
        ("  bearer  ", INVALID),
        ("BearerGOOD", INVALID),
        ("Bearer Bearer GOOD", INVALID),
        ("Basic GOOD", INVALID),
        ("Token GOOD", INVALID),
        ("\"GOOD\"", INVALID),
    ] {
        let auth = json!({ "token": form.replace("GOOD", &good) });
        let found = verdict(&sockd, "", &[], &auth).await;
        assert_eq!(found, expected, "{form:?}");
    }
    for (form, expected) in [
        ("Bearer GOOD", IN),
        ("bEaReR   GOOD", IN),
        ("GOOD", IN),
        ("Bearer", INVALID),
        ("   ", MISSING),
    ] {
        let header = form.replace("GOOD", &good);
        let headers = [("authorization", header.as_str())];
        let found = verdict(&sockd, "", &headers, &Value::Null).await;
        assert_eq!(found, expected, "{form:?}");
    }
}

#[tokio::test]
async fn the_token_of_the_request_that_opened_the_connection_counts_after_an_upgrade_too() {
    let sockd = Sockd::start().await;
    let good = jwt::token(&jwt::user(), &jwt::session());
    let polling = Polling::open_with(sockd.address(), &format!("&token={good}"), &[]).await;
    let query = format!("&sid={}&token=bad", polling.sid);
    let mut websocket = WebSocket::open_with(sockd.address(), &query, &[]).await;
    websocket.send("2probe").await;
    assert_eq!(websocket.packet().await, "3probe");
    websocket.send("5").await;
    websocket.send("40").await;
    assert!(websocket.packet().await.starts_with("40{"));
}
