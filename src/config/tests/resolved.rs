//! What the server and the commands get.

use super::*;
use crate::config::{Cors, LogFormat, OnExpiry};
use crate::id::{Charset, IdFormat};

#[test]
fn origins_are_any_one_or_a_list() {
    let cors = |text: &str| Start::new().env("CORS_ORIGIN", text).config().cors;
    let list = |texts: &[&str]| Cors::List(texts.iter().map(|&text| text.to_owned()).collect());
    assert_eq!(cors("*"), Cors::Any);
    assert_eq!(cors("  "), Cors::Any);
    assert_eq!(cors(" , "), Cors::Any);
    assert_eq!(cors(" https://a "), Cors::One("https://a".into()));
    assert_eq!(
        cors("https://a,https://b , "),
        list(&["https://a", "https://b"])
    );
    let toml = |text: &str| Start::new().toml(text).config().cors;
    assert_eq!(
        toml("cors.origin = \"https://a, https://b\""),
        list(&["https://a", "https://b"])
    );
    assert_eq!(
        toml("cors.origin = [\"https://a\"]"),
        Cors::One("https://a".into())
    );
    assert_eq!(toml("cors.origin = []"), Cors::Any);
    assert_eq!(toml("cors.origin = \"\""), Cors::Any);
}

#[test]
fn algorithms_are_trimmed_and_a_blank_list_is_hs256() {
    let algorithms = |text: &str| {
        Start::new()
            .env("JWT_ALGORITHMS", text)
            .config()
            .auth
            .algorithms
    };
    assert_eq!(algorithms(" HS256 ,, HS512,"), ["HS256", "HS512"]);
    assert_eq!(algorithms(" "), ["HS256"]);
    assert_eq!(algorithms(",,"), ["HS256"]);
    let config = Start::new().toml("auth.algorithms = []").config();
    assert_eq!(config.auth.algorithms, ["HS256"]);
}

#[test]
fn every_section_of_the_file_arrives() {
    let config = Start::new()
        .toml(
            r#"
            server = { host = "127.0.0.1", port = 0, max_header_size = "8KiB" }
            auth = { user_claim = "sub", issuer = "me", audience = "", on_expiry = "keep" }
            ids = { user = "any", session = "integer", any_max_length = 8, any_charset = "a-f" }
            events.supported = ["order:*"]
            rooms.prefix = ""
            sessions = { key_prefix = "s:", ttl = "1h 30m" }
            limits = { handshake_attempts = 3, inbound_rate = "1.5MiB" }
            log = { level = "warn,sockd=trace", format = "json" }
            "#,
        )
        .config();
    assert_eq!(
        (config.server.port, config.server.max_header_size),
        (0, 8192)
    );
    assert_eq!(
        (config.auth.issuers, config.auth.audiences),
        (vec!["me".to_owned()], Vec::new())
    );
    assert_eq!(config.auth.on_expiry, OnExpiry::Keep);
    let charset = Charset::try_from("a-f").expect("a charset");
    let any = IdFormat::Any {
        max_length: 8,
        charset,
    };
    assert_eq!(
        (config.ids.user, config.ids.session),
        (any, IdFormat::Integer)
    );
    assert!(config.events.parse("order:paid").is_some());
    assert!(config.events.parse("auth:logout").is_none());
    assert_eq!(
        (config.room_prefix.as_str(), config.sessions.ttl.as_secs()),
        ("", 5400)
    );
    assert_eq!(
        (config.limits.handshake_attempts, config.limits.inbound_rate),
        (3, 1_572_864)
    );
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn trusted_proxies_are_addresses_and_networks() {
    let trusted = |list: &str| {
        let start = Start::new().env("SOCKD_SERVER__TRUSTED_PROXIES", list);
        start.settings().resolve().map(|loaded| {
            let networks = loaded.config.server.trusted_proxies.unwrap_or_default();
            let texts: Vec<_> = networks.iter().map(ToString::to_string).collect();
            texts.join(" ")
        })
    };
    let found = trusted("127.0.0.1, ::1,10.0.0.0/8,2001:db8::/32");
    let expected = "127.0.0.1/32 ::1/128 10.0.0.0/8 2001:db8::/32";
    assert_eq!(found.expect("all can be read"), expected);
    // Clients are compared by their IPv4 addresses, however the network is written.
    let found = trusted("::ffff:192.0.2.1,::ffff:10.0.0.0/104,::ffff:0:0/96,::/80");
    let expected = "192.0.2.1/32 10.0.0.0/8 0.0.0.0/0 ::/80";
    assert_eq!(found.expect("all can be read"), expected);
    for bad in [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "proxy.example.com",
        "10.0.0.0/",
        "10.0.0.1:80",
    ] {
        let problems = trusted(bad).expect_err(bad).to_string();
        assert!(
            problems.contains("is not a list of addresses and networks"),
            "{problems}"
        );
    }
}

#[test]
fn an_empty_list_of_events_allows_none() {
    let config = Start::new().toml("events.supported = []").config();
    assert!(config.events.parse("auth:logout").is_none());
}

#[test]
fn every_setting_has_its_own_variable() {
    let rows = Start::bare().settings().rows();
    let defaults: Vec<_> = rows
        .iter()
        .filter_map(|row| row.value.as_deref().map(|value| (row.key, value)))
        .collect();
    let mut start = Start::new();
    for (key, value) in &defaults {
        let name = format!("SOCKD_{}", key.replacen('.', "__", 1).to_uppercase());
        start = start.env(&name, value);
    }
    let rows = start.settings().rows();
    let own = rows
        .iter()
        .filter(|row| row.origin.starts_with("environment SOCKD_"));
    assert_eq!(own.count(), defaults.len());
    assert_eq!(
        format!("{:?}", start.config()),
        format!("{:?}", Start::new().config())
    );
}

#[test]
fn commands_need_only_what_they_use() {
    let settings = Start::bare().env("JWT_SECRET", JWT_SECRET).settings();
    assert_eq!(settings.auth().expect("a secret").secrets.len(), 1);
    assert!(
        settings
            .endpoint(None)
            .expect("no need of a secret")
            .secrets
            .is_empty()
    );
    assert!(
        settings
            .sessions()
            .expect("no need of a secret")
            .redis
            .is_none()
    );
    assert!(settings.ids().is_ok());
    assert!(Start::bare().settings().auth().is_err());
    let settings = Start::bare().env("PORT", "x").settings();
    assert!(settings.endpoint(None).is_err());
    assert!(settings.sessions().is_err());
}

#[test]
fn a_running_server_is_found_if_no_mistake_hides_it() {
    let start = Start::new().env("SOCKD_INTERNAL__PREVIOUS_SECRETS", "older");
    let found = |start: &Start, url: Option<&str>| {
        let settings = start.settings();
        assert!(settings.endpoint(None).is_err());
        let endpoint = settings
            .endpoint_despite_mistakes(url.map(str::to_owned))
            .ok()?;
        assert_eq!(endpoint.secrets.len(), 2);
        Some(endpoint.url)
    };
    let own = Some("http://127.0.0.1:3000".to_owned());
    let start = start.env("SOCKD_LOG__FORMAT", "x");
    assert_eq!(found(&start, None), own);
    let given = "http://10.0.0.1:3000";
    let start = start.env("PORT", "x");
    assert_eq!(found(&start, None), None);
    assert_eq!(found(&start, Some(given)), Some(given.to_owned()));
    let start = start.env("SOCKD_URL", given);
    assert_eq!(found(&start, None), Some(given.to_owned()));
    let start = start.env("SOCKD_INTERNAL__SECRET_FILE", "none");
    assert_eq!(found(&start, None), None);
}

#[test]
fn commands_call_the_internal_routes_or_else_the_port_of_clients() {
    let listening = |listen: &str| {
        let toml = format!("internal.listen = {listen:?}");
        let start = Start::new().file("folder/sockd.toml", toml);
        let start = start.env("SOCKD_CONFIG", "folder/sockd.toml");
        let folder = start.directory.path().join("folder").display().to_string();
        let url = start.settings().endpoint(None).expect("an endpoint").url;
        url.replace(&folder, "FOLDER")
    };
    assert_eq!(listening("127.0.0.1:3001"), "http://127.0.0.1:3001");
    assert_eq!(listening("[::1]:3001"), "http://[::1]:3001");
    assert_eq!(listening("[::]:3001"), "http://127.0.0.1:3001");
    assert_eq!(listening("localhost:1"), "http://localhost:1");
    assert_eq!(listening("unix:/run/s.sock"), "unix:/run/s.sock");
    assert_eq!(listening("unix:s.sock"), "unix:FOLDER/s.sock");
    for (host, url) in [
        ("::", "http://127.0.0.1:3000"),
        ("0.0.0.0", "http://127.0.0.1:3000"),
        ("::1", "http://[::1]:3000"),
        ("localhost", "http://localhost:3000"),
    ] {
        let settings = Start::new().env("SOCKD_SERVER__HOST", host).settings();
        assert_eq!(settings.endpoint(None).expect("a client").url, url);
    }
}

#[test]
fn settings_of_a_socket_without_one_are_warned_of() {
    let warnings = |listen: &str| {
        let start = Start::new()
            .env("SOCKD_INTERNAL__LISTEN", listen)
            .env("SOCKD_INTERNAL__SOCKET_MODE", "0600")
            .env("SOCKD_INTERNAL__SOCKET_GROUP", "backend");
        let warnings = start.warnings();
        let idle = warnings
            .iter()
            .filter(|text| text.contains("changes nothing"));
        idle.count()
    };
    assert_eq!(warnings("127.0.0.1:3001"), 2);
    assert_eq!(warnings(""), 2);
    assert_eq!(warnings("unix:/run/s.sock"), 0);
}

#[test]
fn oddities_are_warnings() {
    let warnings = |algorithms: &str, secret: &str| {
        let start = Start::new().env("JWT_ALGORITHMS", algorithms);
        start.env("JWT_SECRET", secret).warnings().join("\n")
    };
    let pem = "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----";
    assert_eq!(warnings("HS256,HS512", JWT_SECRET), "");
    assert_eq!(warnings("RS256", pem), "");
    assert_eq!(warnings("HS256,RS256", pem), "");
    let exported =
        format!("Bag Attributes\n    localKeyID: 01\nKey Attributes: <No Attributes>\n{pem}");
    assert_eq!(warnings("RS256", &exported), "");
    assert!(warnings("HS256", &exported).contains("is a PEM key"));
    assert!(
        warnings("hs256,HS256", JWT_SECRET)
            .contains("\"hs256\" verifies nothing; names are case-sensitive; write HS256")
    );
    for listed in ["ES512", "RS256,ES512", "es512,RS256"] {
        assert!(
            warnings(listed, pem).contains("it is not supported; sign with ES256 or ES384"),
            "{listed}"
        );
    }
    assert!(warnings("ES512", pem).contains("which none of ES512 can use, so every token"));
    assert!(warnings("HS256,none", JWT_SECRET).contains("unsigned tokens are never accepted"));
    assert!(warnings("RS256", JWT_SECRET).contains("is no PEM key, which none of RS256 can use"));
    assert!(warnings("HS256", pem).contains("is a PEM key, which none of HS256 can use"));
    let short = warnings("HS256", "hunter2");
    assert!(
        short.starts_with("auth.secret: shorter than the 32 bytes") && !short.contains("hunter2")
    );
    for (key, value, warning) in [
        ("server.drain_window", "10s", "shorten it"),
        ("limits.inbound_burst", "1KiB", "raise it"),
    ] {
        let warnings = Start::new().flag("--set", key, value).warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with(key) && warnings[0].ends_with(warning)
                || warnings[0].contains(warning)
        );
    }
}
