//! Lines of the text log: whatever ids and headers say, each is one line whose fields can be told apart.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use crate::support::{
    jwt,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

/// Ids that try to be more than one field, or more than one line.
const IDS: [&str; 14] = [
    "a b",
    "x forged=1",
    "x\" forged=\"1",
    "x\\\" forged=1",
    "\"x\"",
    "\"",
    "\\",
    "x\\n INFO audit forged=1",
    "=",
    "a=b",
    "é 日本",
    "x\u{2028}forged=1",
    "x\u{202e}1=degrof",
    "x\u{a0}forged=1",
];

/// The fields of a line, by their names; `None` if it is not one message and then fields.
fn fields(line: &str) -> Option<BTreeMap<&str, String>> {
    let begins_field = |text: &str| {
        let (name, _) = text.split_once('=')?;
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        (!name.is_empty() && name.chars().all(is_name)).then_some(())
    };
    let mut rest = line;
    while begins_field(rest).is_none() {
        (_, rest) = rest.split_once(' ')?;
    }
    let mut fields = BTreeMap::new();
    loop {
        begins_field(rest)?;
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = value(behind)?;
        if fields.insert(name, value).is_some() {
            return None;
        }
        if behind.is_empty() {
            return Some(fields);
        }
        rest = behind.strip_prefix(' ')?;
    }
}

/// A word, or a text in quotes as Rust writes it; and what is behind it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(' ').unwrap_or(text.len());
        let is_plain = |c: char| c != '"' && !c.is_control() && !c.is_whitespace();
        let word = &text[..end];
        return (end > 0 && word.chars().all(is_plain)).then(|| (word.to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                '0' => value.push('\0'),
                'u' => {
                    let (_, code) = quoted[at..].split_once('{')?;
                    let (code, _) = code.split_once('}')?;
                    value.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
                    chars.find(|(_, c)| *c == '}')?;
                }
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    None
}

#[tokio::test]
async fn no_id_and_no_header_looks_like_other_fields_or_lines() {
    let sockd = Sockd::builder()
        .env("NO_COLOR", "1")
        .env("SOCKD_IDS__USER", "any")
        .env("SOCKD_IDS__SESSION", "any")
        .env("SOCKD_IDS__ANY_CHARSET", "!-~ \u{a0}-\u{1ffff}")
        .env("SOCKD_SERVER__TRUSTED_PROXIES", "127.0.0.1,::1")
        .env("SOCKD_LOG__ACCESS", "true")
        .env("SOCKD_LOG__LEVEL", "debug")
        .start()
        .await;
    for id in IDS {
        let headers = [("X-Forwarded-For", "192.0.2.1 forged=1")];
        let mut socket = WebSocket::open_with(sockd.address(), "", &headers).await;
        socket.packet().await;
        let claims = json!({ "user_id": id, "session_id": id });
        let answer = socket.connect(&jwt::sign(&claims)).await;
        assert!(answer.starts_with("40"), "{id:?}: {answer}");
        let body = json!({ "userId": id, "sessionId": "other" });
        assert_eq!(
            sockd.post("/internal/force-logout", &body).await.status(),
            200
        );
        // A token that is refused, and what is wrong with it.
        let mut refused = WebSocket::open(sockd.address()).await;
        refused.packet().await;
        let bad = json!({ "user_id": id, "session_id": "s", "exp": id });
        assert!(refused.connect(&jwt::sign(&bad)).await.starts_with("44"));
        let body = json!({ "userId": id, "reason": "a\" forged=\"1" });
        assert_eq!(sockd.post("/internal/kick", &body).await.status(), 200);
        let path = "/internal/x%20forged=1\"%0a";
        let request = sockd
            .request(Method::DELETE, path)
            .bearer_auth(INTERNAL_SECRET);
        let request = request.header("X-Request-Id", "1\" forged=\"1");
        assert_eq!(request.send().await.expect("an answer").status(), 404);
    }
    let removed = sockd
        .request(Method::DELETE, "/internal/user/session?id=x%20forged%3D1")
        .bearer_auth(INTERNAL_SECRET);
    assert_eq!(removed.send().await.expect("an answer").status(), 200);
    sockd.logs("act=\"remove-session\"").await;

    let text = sockd.log().text();
    let mut seen = BTreeMap::<String, usize>::new();
    for line in text.lines() {
        // Each begins with its time.
        assert!(line.starts_with("20"), "{line}");
        if !line.contains('=') {
            continue;
        }
        let fields = fields(line).unwrap_or_else(|| panic!("{line}"));
        assert!(!fields.contains_key("forged"), "{line}");
        if let Some(user) = fields.get("user") {
            assert!(IDS.contains(&user.as_str()), "{line}");
            *seen.entry(user.clone()).or_default() += 1;
        }
    }
    for id in IDS {
        // It joined and left, and was logged out and kicked.
        assert!(seen.get(id) >= Some(&4), "{id:?}: {seen:?}");
    }
}
