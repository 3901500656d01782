//! Redis or memory, and where Redis is.

use super::*;
use crate::config::Topology;

fn url(redis: &Redis) -> &str {
    match &redis.topology {
        Topology::Standalone { url } => url,
        other => panic!("not standalone: {other}"),
    }
}

fn password(redis: &Redis) -> Option<&str> {
    redis.password.as_ref().map(crate::secret::Secret::expose)
}

#[test]
fn any_one_variable_means_redis_with_defaults_for_the_rest() {
    for (name, value, url) in [
        ("REDIS_HOST", "redis", "redis://redis:6379"),
        ("REDIS_PORT", "6380", "redis://127.0.0.1:6380"),
        ("REDIS_PASS", "p", "redis://127.0.0.1:6379"),
        ("REDIS_HOST", "::1", "redis://[::1]:6379"),
        ("SOCKD_REDIS__DATABASE", "2", "redis://127.0.0.1:6379/2"),
    ] {
        assert_eq!(self::url(&Start::new().env(name, value).redis()), url);
    }
    assert_eq!(
        password(&Start::new().env("REDIS_PASS", "p").redis()),
        Some("p")
    );
}

#[test]
fn settings_of_redis_alone_do_not_turn_it_on() {
    let start = Start::new().toml("[redis]\nchannel_prefix = \"x:\"\ncommand_timeout = \"2s\"");
    assert!(!start.settings().uses_redis());
    assert!(start.config().redis.is_none());
    assert_eq!(start.row("redis.host").0, None);
    assert_eq!(
        start.env("REDIS_PASS", "p").row("redis.host").0.as_deref(),
        Some("127.0.0.1")
    );
}

#[test]
fn credentials_are_taken_out_of_the_url() {
    for (given, url, user, pass) in [
        ("redis://r", "redis://r:6379", None, None),
        ("redis://:p@r:1/2", "redis://r:1/2", None, Some("p")),
        (
            "rediss://u:p%40%2F@[::1]",
            "rediss://[::1]:6379",
            Some("u"),
            Some("p@/"),
        ),
        ("valkeys://u@r/0", "rediss://r:6379", Some("u"), None),
        (
            "redis+unix:///run/r.sock",
            "redis+unix:///run/r.sock",
            None,
            None,
        ),
        (
            "unix:///run/r.sock?db=3&user=u&pass=p%26",
            "redis+unix:///run/r.sock?db=3",
            Some("u"),
            Some("p&"),
        ),
    ] {
        let redis = Start::new().env("SOCKD_REDIS__URL", given).redis();
        assert_eq!(self::url(&redis), url);
        assert_eq!(redis.username.as_deref(), user);
        assert_eq!(password(&redis), pass);
    }
}

#[test]
fn what_is_no_redis_url_is_refused_and_not_shown() {
    for url in [
        "http://r",
        "redis://",
        "r:6379",
        "redis://:p#w@r",
        "redis://r/two",
        "redis://r?password=p",
        "rediss://r#insecure",
        "unix:///r.sock?password=p",
    ] {
        let start = Start::new()
            .file("ca.pem", "")
            .env("SOCKD_REDIS__TLS_CA_FILE", "ca.pem");
        let problems = start.env("SOCKD_REDIS__URL", url).problems();
        let start = "environment SOCKD_REDIS__URL: redis.url: what is given is not a Redis URL; ";
        assert!(problems.starts_with(start), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn keys_add_to_a_url_and_the_stronger_source_wins() {
    let start = Start::new().toml("[redis]\nurl = \"redis://u:in-url@r/1\"");
    let start = start.env("REDIS_PASS", "p");
    let stronger = start.env("SOCKD_REDIS__DATABASE", "4").redis();
    assert_eq!(
        (url(&stronger), password(&stronger)),
        ("redis://r:6379/4", Some("p"))
    );
    assert_eq!(stronger.username.as_deref(), Some("u"));

    let start = Start::new().env("SOCKD_REDIS__URL", "redis://:in-url@r");
    let weaker = start.env("REDIS_PASS", "p").redis();
    assert_eq!(password(&weaker), Some("in-url"));

    let start = Start::new().toml("[redis]\nurl = \"redis://:in-url@r\"\npassword = \"p\"");
    assert_eq!(
        start.problems(),
        "sockd.toml:3:1: redis.password: the redis.url at sockd.toml:2 has one too; keep one"
    );
}

#[test]
fn own_url_makes_the_familiar_host_and_port_void() {
    let start = Start::new()
        .env("SOCKD_REDIS__URL", "redis://r")
        .env("REDIS_HOST", "elsewhere")
        .env("REDIS_PORT", "tcp://10.0.0.1:6379");
    assert_eq!(url(&start.redis()), "redis://r:6379");
}

#[test]
fn a_stronger_host_makes_the_url_of_the_file_void() {
    let start = Start::new()
        .toml("[redis]\nurl = \"redis://:p@r/1\"")
        .env("REDIS_HOST", "other");
    let redis = start.redis();
    assert_eq!(
        (url(&redis), password(&redis)),
        ("redis://other:6379", None)
    );
}

#[test]
fn tls_files_are_checked() {
    let start = Start::new().file("ca.pem", "").toml(
        "[redis]\nurl = \"rediss://r\"\ntls_ca_file = \"ca.pem\"\ntls_cert_file = \"none.pem\"",
    );
    assert_eq!(
        start.problems(),
        "sockd.toml:4:1: redis.tls_cert_file: redis.tls_key_file is missing; give both or none\n\
         sockd.toml:4:1: redis.tls_cert_file: \"none.pem\" not found; create it or leave the key out"
    );
    let start = start.toml("[redis]\nurl = \"rediss://r\"\ntls_ca_file = \"ca.pem\"");
    let ca = start.directory.path().join("ca.pem");
    assert_eq!(start.redis().tls.authorities, Some(ca));
    let start = Start::new()
        .file("ca.pem", "")
        .env("SOCKD_REDIS__TLS_CA_FILE", "ca.pem");
    assert!(
        start
            .problems()
            .ends_with("has no effect without TLS; set redis.url to rediss://…")
    );
}
