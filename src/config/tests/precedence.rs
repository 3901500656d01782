//! Which source wins.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::*;

#[test]
fn each_source_goes_over_those_below_it() {
    let origin = |start: &Start| start.row("server.port");
    let start = Start::new();
    assert_eq!(origin(&start), (Some("3000".into()), "default".into()));
    let start = start.toml("[server]\n\nport = 3001\n");
    assert_eq!(origin(&start), (Some("3001".into()), "sockd.toml:3".into()));
    let start = start.file(".env", "PORT=3002\n");
    assert_eq!(origin(&start), (Some("3002".into()), ".env PORT".into()));
    let start = start.env("PORT", "3003");
    assert_eq!(
        origin(&start),
        (Some("3003".into()), "environment PORT".into())
    );
    let start = start.env("SOCKD_SERVER__PORT", "3004");
    assert_eq!(
        origin(&start),
        (Some("3004".into()), "environment SOCKD_SERVER__PORT".into())
    );
    let start = start.flag("--port", "server.port", "3005");
    assert_eq!(origin(&start), (Some("3005".into()), "flag --port".into()));
    assert_eq!(start.config().server.port, 3005);
}

#[test]
fn own_variable_in_dotenv_goes_over_a_familiar_one_of_the_process() {
    let start = Start::new()
        .file(".env", "SOCKD_SERVER__PORT=3002\n")
        .env("PORT", "3003");
    assert_eq!(start.config().server.port, 3002);
}

#[test]
fn the_explicit_file_is_read_instead_of_all_others() {
    let mut start = Start::new()
        .toml("[server]\nport = 1\n")
        .file("env.toml", "[server]\nport = 2\n")
        .file("flag.toml", "[server]\nport = 3\n")
        .file("etc-sockd.toml", "[server]\nport = 4\n");
    assert_eq!(start.config().server.port, 1);
    start = start.env("SOCKD_CONFIG", "env.toml");
    assert_eq!(start.config().server.port, 2);
    start.sources.explicit_file = Some(PathBuf::from("flag.toml"));
    assert_eq!(start.config().server.port, 3);
    assert_eq!(start.settings().file(), Some(Path::new("flag.toml")));
}

#[test]
fn the_system_file_is_read_when_there_is_none_here() {
    let start = Start::new().file("etc-sockd.toml", "[server]\nport = 4\n");
    assert_eq!(start.config().server.port, 4);
}

#[test]
fn an_explicit_file_that_is_missing_is_an_error() {
    let mut start = Start::new().env("SOCKD_CONFIG", "nowhere.toml");
    assert_eq!(
        start.problems(),
        "environment SOCKD_CONFIG: \"nowhere.toml\" not found; create it or name another"
    );
    start.sources.explicit_file = Some(PathBuf::from("gone.toml"));
    assert_eq!(
        start.problems(),
        "flag --config: \"gone.toml\" not found; create it or name another"
    );
}

#[test]
fn blank_variables_are_absent() {
    let start = Start::bare()
        .env("JWT_SECRET", JWT_SECRET)
        .env("INTERNAL_SECRET", "")
        .env("AUTH_TOKEN", "")
        .env("SECRET_KEY", INTERNAL_SECRET);
    let mut start = start.toml("[server]\nport = 3001\n");
    for name in [
        "PORT",
        "JWT_ALGORITHMS",
        "CORS_ORIGIN",
        "REDIS_HOST",
        "REDIS_PORT",
        "REDIS_PASS",
        "SOCKD_REDIS__URL",
        "JWT_SECRET_FILE",
        "SOCKD_CONFIG",
    ] {
        start = start.env(name, "");
    }
    let config = start.config();
    assert_eq!(config.server.port, 3001);
    assert_eq!(config.auth.algorithms, ["HS256"]);
    assert_eq!(config.cors, crate::config::Cors::Any);
    assert!(config.redis.is_none());
    assert_eq!(config.internal.secrets[0].expose(), INTERNAL_SECRET);
}

#[test]
fn a_blank_variable_of_the_process_hides_that_of_dotenv() {
    let start = Start::new().file(".env", "REDIS_HOST=redis\n");
    assert!(start.config().redis.is_some());
    assert!(start.env("REDIS_HOST", "").config().redis.is_none());
}

#[test]
fn the_first_internal_secret_that_is_not_blank_counts() {
    let secret = |start: Start| start.config().internal.secrets[0].expose().to_owned();
    let start = || {
        Start::bare()
            .env("JWT_SECRET", JWT_SECRET)
            .env("SECRET_KEY", "third")
    };
    assert_eq!(secret(start()), "third");
    assert_eq!(secret(start().env("AUTH_TOKEN", "second")), "second");
    let both = start().env("AUTH_TOKEN", "second");
    assert_eq!(secret(both.env("INTERNAL_SECRET", "first")), "first");
}

#[test]
fn only_variables_that_matter_must_be_utf_8() {
    let not_utf_8 = || OsString::from_vec(vec![b'a', 0xff]);
    let mut start = Start::new();
    start.sources.env.insert("LS_COLORS".into(), not_utf_8());
    start.config();
    start.sources.env.insert("PORT".into(), not_utf_8());
    assert_eq!(
        start.problems(),
        "environment PORT: server.port: not UTF-8; set it again"
    );
}
