//! Which source says where Redis is, when several do.

use super::*;

/// Where Redis is, and what is warned of.
fn place(start: &Start) -> (String, Vec<String>) {
    let redis = start.redis();
    (redis.topology.to_string(), start.warnings())
}

#[test]
fn redis_url_means_that_redis() {
    let start = Start::new().env("REDIS_URL", "rediss://u:p@r:1/2");
    assert_eq!(place(&start), ("rediss://r:1/2".to_owned(), vec![]));
    assert_eq!(
        start.row("redis.url"),
        (
            Some("rediss://u:(redacted)@r:1/2".into()),
            "environment REDIS_URL".into()
        )
    );
    let redis = start.redis();
    assert_eq!(redis.username.as_deref(), Some("u"));
    let start = Start::new().file(".env", "REDIS_URL=redis://r");
    assert_eq!(place(&start).0, "redis://r:6379");
    let problems = Start::new().env("REDIS_URL", "r:6379").problems();
    assert!(
        problems.starts_with("environment REDIS_URL: redis.url: what is given is not a Redis URL"),
        "{problems}"
    );
}

#[test]
fn the_password_may_stand_beside_redis_url_but_not_twice() {
    let start = Start::new()
        .env("REDIS_URL", "redis://r")
        .env("REDIS_PASS", "p");
    let redis = start.redis();
    assert_eq!(redis.password.expect("a password").expose(), "p");
    assert_eq!(
        start.env("REDIS_URL", "redis://:other@r").problems(),
        "environment REDIS_PASS: redis.password: the redis.url at environment REDIS_URL has one \
         too; keep one"
    );
}

#[test]
fn redis_url_is_not_read_where_host_or_port_are_set() {
    for (name, value, url) in [
        ("REDIS_HOST", "h", "redis://h:6379"),
        ("REDIS_PORT", "6380", "redis://127.0.0.1:6380"),
    ] {
        let start = Start::new()
            // What is not read need not be a Redis URL.
            .env("REDIS_URL", "elsewhere")
            .env(name, value);
        let note = format!(
            "environment REDIS_URL: ignored, because environment {name} is set; unset one of them"
        );
        assert_eq!(place(&start), (url.to_owned(), vec![note]));
    }
}

#[test]
fn redis_url_of_the_process_goes_over_a_host_in_dotenv() {
    let start = Start::new()
        .env("REDIS_URL", "redis://r")
        .file(".env", "REDIS_HOST=h\nREDIS_PORT=1\n");
    let note =
        ".env:1: REDIS_HOST: ignored, because environment REDIS_URL is set; unset one of them";
    assert_eq!(
        place(&start),
        ("redis://r:6379".to_owned(), vec![note.to_owned()])
    );
    let start = start.env("REDIS_HOST", "process");
    assert_eq!(place(&start).0, "redis://process:1");
}

#[test]
fn own_variables_and_flags_go_over_redis_url() {
    let start = Start::new()
        .env("REDIS_URL", "redis://r")
        .env("REDIS_HOST", "h")
        .env("SOCKD_REDIS__PORT", "1");
    assert_eq!(place(&start), ("redis://h:1".to_owned(), vec![]));
    let start =
        Start::new()
            .env("REDIS_URL", "redis://r")
            .flag("--redis-url", "redis.url", "redis://f");
    assert_eq!(place(&start), ("redis://f:6379".to_owned(), vec![]));
}

#[test]
fn a_place_that_a_stronger_source_displaces_is_told() {
    let sentinels = "[redis]\nsentinels = [\"a\"]\nsentinel_master = \"m\"";
    let cluster = "[redis]\ncluster = [\"a\"]";
    let url = "[redis]\nurl = \"redis://a\"";
    let host = "[redis]\nhost = \"a\"\nport = 1";
    for (toml, key) in [
        (sentinels, "redis.sentinels"),
        (cluster, "redis.cluster"),
        (url, "redis.url"),
    ] {
        for (name, value, by, place) in [
            ("REDIS_PORT", "6380", "redis.port", "redis://127.0.0.1:6380"),
            ("REDIS_HOST", "h", "redis.host", "redis://h:6379"),
            ("SOCKD_REDIS__HOST", "h", "redis.host", "redis://h:6379"),
        ] {
            let start = Start::new().toml(toml).env(name, value);
            let note = format!(
                "environment {name}: {by} overrides {key} (sockd.toml:2), so that Redis \
                 is not used; unset one of them"
            );
            assert_eq!(self::place(&start), (place.to_owned(), vec![note]));
        }
    }
    for (toml, key) in [
        (sentinels, "redis.sentinels"),
        (cluster, "redis.cluster"),
        (host, "redis.host"),
    ] {
        let by_flag = Start::new()
            .toml(toml)
            .flag("--redis-url", "redis.url", "redis://f");
        let by_variable = Start::new().toml(toml).env("REDIS_URL", "redis://f");
        for (start, by) in [
            (by_flag, "flag --redis-url"),
            (by_variable, "environment REDIS_URL"),
        ] {
            let note = format!(
                "{by}: redis.url overrides {key} (sockd.toml:2), so that Redis is not \
                 used; unset one of them"
            );
            assert_eq!(place(&start), ("redis://f:6379".to_owned(), vec![note]));
        }
    }
    let start = Start::new()
        .toml(sentinels)
        .env("SOCKD_REDIS__CLUSTER", "b");
    assert!(place(&start).1[0].contains("redis.cluster overrides redis.sentinels"));
}

#[test]
fn what_only_adds_to_a_place_is_not_told() {
    for (toml, name, value) in [
        ("[redis]\nhost = \"a\"", "REDIS_PORT", "1"),
        ("[redis]\nurl = \"redis://a\"", "REDIS_PASS", "p"),
        ("[redis]\nurl = \"redis://a\"", "REDIS_URL", "redis://b"),
        ("[redis]\ncluster = [\"a\"]", "REDIS_PASS", "p"),
    ] {
        let start = Start::new().toml(toml).env(name, value);
        assert_eq!(place(&start).1, [""; 0], "{toml} {name}");
    }
}

#[test]
fn what_kubernetes_sets_for_a_service_is_no_port_and_the_remedy_is_told() {
    for (name, key, own) in [
        ("REDIS_PORT", "redis.port", "SOCKD_REDIS__PORT"),
        ("PORT", "server.port", "SOCKD_SERVER__PORT"),
    ] {
        for link in [
            "tcp://10.0.0.1:6379",
            "udp://10.0.0.1:6379",
            "tcp://[::1]:1",
        ] {
            let problems = Start::new().env(name, link).problems();
            assert_eq!(
                problems,
                format!(
                    "environment {name}: {key}: {link:?} is a service link that Kubernetes \
                     sets; set enableServiceLinks: false in the pod spec, or set {own} to the port"
                )
            );
            Start::new().env(name, link).env(own, "1").config();
        }
    }
}

#[test]
fn what_kubernetes_sets_is_no_choice_of_another_place() {
    let link = "tcp://10.0.0.1:6379";
    let start = Start::new()
        .env("REDIS_PORT", link)
        .env("REDIS_SERVICE_HOST", "10.0.0.1")
        .env("REDIS_URL", "redis://r");
    assert_eq!(place(&start), ("redis://r:6379".to_owned(), vec![]));
    // A Service called sockd-server, or sockd itself.
    let start = Start::new()
        .env("SOCKD_SERVER_PORT", link)
        .env("SOCKD_PORT", link)
        .env("SOCKD_SERVICE_HOST", "10.0.0.1");
    assert_eq!(start.warnings(), [""; 0]);
}

#[test]
fn a_url_in_the_place_of_a_host_does_not_show_its_password() {
    let problems = Start::new()
        .env("REDIS_HOST", "redis://:hunter2@h:6379")
        .problems();
    assert!(
        problems.starts_with("environment REDIS_HOST: redis.host: what is given is not"),
        "{problems}"
    );
}
