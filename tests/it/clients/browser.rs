//! In Chromium: stock clients on pages of other origins, and the page of `sockd serve --dev`.

use serde_json::{Value, json};

use crate::support::{driver::Driver, http, jwt, sockd::Sockd};

/// What a transport is called by the client.
const TRANSPORTS: [&str; 2] = ["polling", "websocket"];

/// A server for pages of these origins.
async fn server(cors: &str) -> Sockd {
    Sockd::builder().env("CORS_ORIGIN", cors).start().await
}

fn origins(browser: &Driver) -> [String; 2] {
    let origins = browser.greeting["origins"].clone();
    serde_json::from_value(origins).expect("two origins")
}

/// Begins to connect from a page of an origin.
fn connect(browser: &mut Driver, id: &str, origin: &str, sockd: &Sockd, options: &Value) {
    browser.tell(&json!({
        "do": "connect", "id": id, "origin": origin, "url": sockd.url(), "options": options,
    }));
}

fn options(transport: &str, token: &str) -> Value {
    json!({ "transports": [transport], "auth": { "token": token }, "reconnection": false })
}

#[tokio::test]
async fn pages_of_allowed_origins_connect() {
    let mut browser = Driver::browser().await;
    let [one, other] = origins(&browser);
    let allowed = ["*".to_owned(), one.clone(), format!("{other}, {one}")];
    for (number, cors) in allowed.iter().enumerate() {
        let sockd = server(cors).await;
        let (user, session) = (jwt::user(), jwt::session());
        let token = jwt::token(&user, &session);
        let id = |transport: &str| format!("{transport} {number}");
        for transport in TRANSPORTS {
            connect(
                &mut browser,
                &id(transport),
                &one,
                &sockd,
                &options(transport, &token),
            );
        }
        for transport in TRANSPORTS {
            let report = browser.next(&id(transport)).await;
            assert_eq!(
                report,
                json!({ "on": "connect", "transport": transport }),
                "{cors}"
            );
        }
        sockd
            .emit(&user, "profile:update", &json!({ "a": 1 }))
            .await;
        sockd.force_logout(&user, &jwt::session()).await;
        for transport in TRANSPORTS {
            let event = |name, args| json!({ "on": "event", "name": name, "args": args });
            let reason = r#"[{"reason":"SESSION_REPLACED"}]"#;
            let gone =
                json!({ "on": "disconnect", "reason": "io server disconnect", "again": false });
            for expected in [
                event("profile:update", r#"[{"a":1}]"#),
                event("auth:logout", reason),
                gone,
            ] {
                assert_eq!(browser.next(&id(transport)).await, expected, "{cors}");
            }
        }
    }
}

#[tokio::test]
async fn pages_of_other_origins_cannot_poll() {
    let mut browser = Driver::browser().await;
    let [one, other] = origins(&browser);
    let token = jwt::token(&jwt::user(), &jwt::session());
    for (number, cors) in [other.clone(), format!("https://app.example, {other}")]
        .iter()
        .enumerate()
    {
        let sockd = server(cors).await;
        let id = format!("{number}");
        connect(&mut browser, &id, &one, &sockd, &options("polling", &token));
        // What the console says and what the client says come in any order.
        let mut reports = vec![browser.next(&id).await];
        while reports
            .last()
            .is_some_and(|report| report["on"] != "connect_error")
        {
            reports.push(browser.next(&id).await);
        }
        let (refusal, before) = reports.split_last().expect("a refusal");
        assert_eq!(refusal["message"], "xhr poll error");
        for report in before {
            assert_eq!(report["on"], "page_error", "{report}");
        }
        // CORS does not hold for WebSockets, neither with the TypeScript server nor here.
        let id = format!("{number} websocket");
        connect(
            &mut browser,
            &id,
            &one,
            &sockd,
            &options("websocket", &token),
        );
        assert_eq!(browser.next(&id).await["on"], "connect");
    }
}

#[tokio::test]
async fn a_page_is_told_why_it_is_refused() {
    let mut browser = Driver::browser().await;
    let [origin, _] = origins(&browser);
    let sockd = server(&origin).await;
    for transport in TRANSPORTS {
        connect(
            &mut browser,
            transport,
            &origin,
            &sockd,
            &options(transport, "rubbish"),
        );
        let report = browser.next(transport).await;
        let expected = json!({ "on": "connect_error", "message": "TOKEN_INVALID", "again": false });
        assert_eq!(report, expected, "{transport}");
    }
}

/// Opens the dev page and waits until it is live.
async fn open(browser: &mut Driver, sockd: &Sockd, id: &str) {
    browser.order(id, "open", json!({ "url": sockd.url() }));
    assert_eq!(state(browser, id).await, "connecting");
    assert_eq!(state(browser, id).await, "live");
}

/// The next state that the page shows; everything else it may say is a fault.
async fn state(browser: &mut Driver, id: &str) -> String {
    loop {
        let report = browser.next(id).await;
        match report["on"].as_str() {
            Some("state") => return report["state"].as_str().expect("a state").to_owned(),
            Some("opened" | "clicked") => {}
            _ => panic!("{report}"),
        }
    }
}

/// The next event that the page shows.
async fn event(browser: &mut Driver, id: &str) -> (String, Value) {
    loop {
        let report = browser.next(id).await;
        match report["on"].as_str() {
            Some("event") => {
                let arguments = report["args"].as_str().expect("JSON");
                let [payload] = serde_json::from_str(arguments).expect("one argument");
                let name = report["name"].as_str().expect("a name");
                return (name.to_owned(), payload);
            }
            Some("opened" | "clicked") => {}
            _ => panic!("{report}"),
        }
    }
}

#[tokio::test]
async fn the_dev_page_shows_what_its_buttons_do() {
    let sockd = Sockd::dev().await;
    let mut browser = Driver::browser().await;
    open(&mut browser, &sockd, "page").await;
    let press = |button: &str| json!({ "button": button });
    let send = press("Send a test event");
    browser.order("page", "click", send);
    let expected = ("profile:update".to_owned(), json!({ "hello": "world" }));
    assert_eq!(event(&mut browser, "page").await, expected);
    browser.order("page", "click", press("Force-logout (log in elsewhere)"));
    let expected = (
        "auth:logout".to_owned(),
        json!({ "reason": "SESSION_REPLACED" }),
    );
    assert_eq!(event(&mut browser, "page").await, expected);
    assert_eq!(state(&mut browser, "page").await, "ended");
    browser.order("page", "click", press("Reconnect"));
    assert_eq!(state(&mut browser, "page").await, "connecting");
    assert_eq!(state(&mut browser, "page").await, "refused");
    // Loading the page again does not take the user back from where they are.
    browser.order("page", "reload", json!({}));
    assert_eq!(state(&mut browser, "page").await, "connecting");
    assert_eq!(state(&mut browser, "page").await, "refused");
    browser.order("page", "click", press("Log in here"));
    assert_eq!(state(&mut browser, "page").await, "connecting");
    assert_eq!(state(&mut browser, "page").await, "live");
}

#[tokio::test]
async fn the_lines_that_dev_prints_reach_the_page() {
    let sockd = Sockd::dev().await;
    let mut browser = Driver::browser().await;
    open(&mut browser, &sockd, "page").await;
    paste(&sockd, " emit ").await;
    let expected = ("profile:update".to_owned(), json!({ "hello": "world" }));
    assert_eq!(event(&mut browser, "page").await, expected);
    paste(&sockd, " force-logout ").await;
    let expected = (
        "auth:logout".to_owned(),
        json!({ "reason": "SESSION_REPLACED" }),
    );
    assert_eq!(event(&mut browser, "page").await, expected);
    assert_eq!(state(&mut browser, "page").await, "ended");
}

/// Runs the line with this command that the terminal shows.
async fn paste(sockd: &Sockd, command: &str) {
    let log = sockd.log().text();
    let line = log.lines().find(|line| line.contains(command));
    let line = line.unwrap_or_else(|| panic!("no line with {command}: {log}"));
    let done = tokio::process::Command::new("sh")
        .args(["-c", line])
        .output();
    let done = done.await.expect("a shell");
    assert!(done.status.success(), "{line}: {done:?}");
}

#[tokio::test]
async fn without_dev_there_is_no_page() {
    let sockd = Sockd::start().await;
    assert_eq!(http::get(&sockd.url()).await.status(), 404);
    for path in ["/dev/emit", "/dev/force-logout", "/dev/log-in"] {
        assert_eq!(sockd.post(path, &json!({})).await.status(), 404);
    }
}
