//! What is warned of: it can be served, but is hardly meant.

use super::*;
use crate::secret::Secret;

/// The one warning of a start, or none.
fn warning(start: &Start) -> Option<String> {
    let mut warnings = start.warnings();
    assert!(warnings.len() < 2, "{warnings:?}");
    warnings.pop()
}

#[test]
fn a_secret_with_something_around_it_is_warned_of_and_not_shown() {
    let quoted = |quote: char| format!("{quote}{JWT_SECRET}{quote}");
    for (secret, oddity) in [
        (quoted('"'), "includes quotes around it"),
        (quoted('\''), "includes quotes around it"),
        (quoted('`'), "includes quotes around it"),
        (format!("{}\n", quoted('"')), "includes quotes around it"),
        (format!("{JWT_SECRET}\n"), "ends with a line break"),
        (format!("{JWT_SECRET}\r\n"), "ends with a line break"),
        (format!("{JWT_SECRET}\r"), "ends with a line break"),
        (format!("{JWT_SECRET}\\n"), "ends with a line break"),
        (format!("{JWT_SECRET} "), "begins or ends with whitespace"),
        (format!("\t{JWT_SECRET}"), "begins or ends with whitespace"),
        (
            format!("{JWT_SECRET}\u{a0}"),
            "begins or ends with whitespace",
        ),
        (
            format!("{JWT_SECRET}\n# of staging"),
            "has more than one line",
        ),
        (
            format!("\u{feff}{JWT_SECRET}"),
            "begins with a byte order mark",
        ),
    ] {
        let is_sendable = Secret::new(secret.clone()).unsendable().is_none();
        for (variable, key, is_sent) in [
            ("JWT_SECRET", "auth.secret", false),
            ("INTERNAL_SECRET", "internal.secret", true),
            ("SOCKD_METRICS__SECRET", "metrics.secret", true),
            ("REDIS_PASS", "redis.password", false),
        ] {
            // The others are mistakes.
            if is_sent && !is_sendable {
                continue;
            }
            let told = warning(&Start::new().env(variable, &secret)).expect("a warning");
            let expected = format!("{key}: the secret {oddity}; ");
            assert!(told.starts_with(&expected), "{secret:?}: {told}");
            assert!(!told.contains(JWT_SECRET), "{told}");
        }
    }
}

#[test]
fn a_secret_beyond_ascii_is_warned_of_where_callers_send_it() {
    let secret = format!("{JWT_SECRET}ä");
    for (variable, warned) in [
        ("JWT_SECRET", None),
        ("INTERNAL_SECRET", Some("internal.secret: ")),
        (
            "SOCKD_INTERNAL__PREVIOUS_SECRETS",
            Some("internal.previous_secrets, entry 1: "),
        ),
        ("SOCKD_METRICS__SECRET", Some("metrics.secret: ")),
    ] {
        let told = warning(&Start::new().env(variable, &secret));
        let expected = warned.map(|place| format!("{place}the secret has characters beyond ASCII"));
        match (told, expected) {
            (Some(told), Some(expected)) => assert!(told.starts_with(&expected), "{told}"),
            (told, expected) => assert_eq!(told, expected, "{variable}"),
        }
    }
}

#[test]
fn settings_of_proxies_that_are_hardly_meant_are_warned_of() {
    let listen = ("SOCKD_INTERNAL__LISTEN", "127.0.0.1:3001");
    let clients = ("SOCKD_SERVER__PROXY_PROTOCOL", "true");
    let callers = ("SOCKD_INTERNAL__PROXY_PROTOCOL", "true");
    let all = ("SOCKD_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,0.0.0.0/0");
    let inside = ("SOCKD_SERVER__TRUSTED_PROXIES", "10.0.0.0/8");
    for (variables, expected) in [
        (
            &[clients][..],
            Some("server.proxy_protocol: internal routes"),
        ),
        (&[callers], Some("internal.proxy_protocol: changes nothing")),
        (
            &[all],
            Some("server.trusted_proxies: 0.0.0.0/0 is every address"),
        ),
        (&[clients, callers, listen, inside], None),
    ] {
        let start = variables
            .iter()
            .fold(Start::new(), |start, (name, value)| start.env(name, value));
        let told = warning(&start);
        let fits = |expected| told.as_ref().is_some_and(|told| told.starts_with(expected));
        assert!(expected.map_or(told.is_none(), fits), "{told:?}");
    }
}

#[test]
fn secrets_in_files_and_lists_are_looked_at_too() {
    for content in ["\u{feff}0123456789abcdef\n", "'0123456789abcdef'\r\n"] {
        let start = Start::new()
            .file("key", content)
            .toml("[internal]\nprevious_secret_files = [\"key\"]");
        let told = warning(&start).expect("a warning");
        assert!(
            told.starts_with("internal.previous_secrets, entry 1: "),
            "{told}"
        );
    }
    let start = Start::new()
        .toml("[redis]\nsentinels = [\"a\"]\nsentinel_master = \"m\"\nsentinel_password = \"'p'\"");
    let told = warning(&start).expect("a warning");
    assert!(
        told.starts_with("redis.sentinel_password: the secret includes quotes"),
        "{told}"
    );
}

#[test]
fn quotes_and_line_breaks_that_belong_to_a_secret_are_not_warned_of() {
    let pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let start = Start::new()
        .env("JWT_SECRET", pem)
        .env("JWT_ALGORITHMS", "RS256");
    assert_eq!(warning(&start), None);
    for secret in [
        format!("{JWT_SECRET}\""),
        format!("it's {JWT_SECRET}"),
        format!("a\"{JWT_SECRET}\"b"),
    ] {
        assert_eq!(warning(&Start::new().env("JWT_SECRET", &secret)), None);
    }
    let start = Start::new().file("key", format!("{JWT_SECRET}\r\n"));
    assert_eq!(warning(&start.env("REDIS_PASS_FILE", "key")), None);
}

#[test]
fn an_origin_that_no_browser_sends_is_warned_of_with_what_to_write() {
    for (origin, remedy) in [
        ("https://*.example.com", "list each origin"),
        ("*.example.com", "list each origin"),
        ("https://a.example:*", "list each origin"),
        (
            "https://App.Example.com",
            "write \"https://app.example.com\"",
        ),
        ("HTTPS://a.example", "write \"https://a.example\""),
        ("https://a.example:443", "write \"https://a.example\""),
        ("http://a.example:80", "write \"http://a.example\""),
        ("https://a.example/", "write \"https://a.example\""),
        ("https://a.example/app?x", "write \"https://a.example\""),
        ("https://u:p@a.example", "write \"https://a.example\""),
        ("wss://a.example", "write \"https://a.example\""),
        ("https://[0:0::1]:8443", "write \"https://[::1]:8443\""),
        ("capacitor://localhost/", "write \"capacitor://localhost\""),
        ("file:///", "\"null\""),
        ("a.example", "begins with http:// or https://"),
        ("localhost:5173", "begins with http:// or https://"),
        ("//a.example", "begins with http:// or https://"),
        ("https://", "a scheme, a host"),
        ("https://a.example:99999", "a scheme, a host"),
    ] {
        let told = warning(&Start::new().env("CORS_ORIGIN", origin)).expect(origin);
        let expected = format!("cors.origin: no browser sends the origin {origin:?}; ");
        assert!(told.starts_with(&expected), "{told}");
        assert!(told.contains(remedy), "{told}");
        let listed = Start::new().env("CORS_ORIGIN", &format!("https://b.example,{origin}"));
        assert_eq!(warning(&listed), Some(told));
    }
    let told = warning(&Start::new().env("CORS_ORIGIN", "*,https://a.example"));
    assert!(told.is_some_and(|told| told.contains("remove it or the others")));
}

#[test]
fn origins_that_browsers_send_are_not_warned_of() {
    for origin in [
        "*",
        "null",
        "https://a.example",
        "http://a.example:8080",
        "http://localhost:5173",
        "http://[::1]:3000",
        "https://xn--r8jz45g.example",
        "capacitor://localhost",
        "ionic://localhost",
        "chrome-extension://abcdefghijklmnop",
        "tauri://localhost",
        "https://a.example,https://b.example:8443",
    ] {
        assert_eq!(warning(&Start::new().env("CORS_ORIGIN", origin)), None);
    }
}
