//! What is wrong is told: all of it, where, and with the remedy.

use super::*;

#[test]
fn all_problems_of_all_sources_are_told_at_once() {
    let start = Start::bare()
        .toml(
            "[server]\nport = 70000\n\n[auth]\nsecret_file = \"jwt.key\"\n[redis]\nurll = \"x\"\n",
        )
        .file(".env", "\nPORT=abc\n")
        .env("SOCKD_LIMITS__WRITE_STALL", "15")
        .flag("--log-format", "log.format", "xml");
    let problems = start.problems();
    let lines: Vec<_> = problems.lines().collect();
    assert_eq!(
        lines,
        [
            "sockd.toml:2:1: server.port: 70000 is not a whole number; choose from 0 to 65535",
            "sockd.toml:7:1: unknown key redis.urll; did you mean redis.url?",
            "environment SOCKD_LIMITS__WRITE_STALL: limits.write_stall: \"15\" is not a duration \
             with its unit such as \"25s\"; choose from 1ms to 1d",
            ".env:2: PORT: server.port: \"abc\" is not a whole number; choose from 0 to 65535",
            "flag --log-format: log.format: \"xml\" is not a choice here; write text or json",
            "sockd.toml:5:1: auth.secret_file: \"jwt.key\" not found; create it or set JWT_SECRET",
            "internal.secret: not set; set INTERNAL_SECRET, AUTH_TOKEN or SECRET_KEY, for example \
             to what `openssl rand -hex 32` prints, or internal.secret_file to a file that holds it",
        ]
    );
}

#[test]
fn a_missing_secret_names_the_variables_that_are_blank() {
    let problems = Start::bare().env("JWT_SECRET", "").problems();
    assert!(
        problems.starts_with("auth.secret: not set (JWT_SECRET is set but empty); set JWT_SECRET,"),
        "{problems}"
    );
}

#[test]
fn unknown_keys_are_told_with_the_nearest_known_one() {
    let told = |toml: &str| Start::new().toml(toml).problems();
    for (toml, problem) in [
        (
            "[server]\n  prot = 1",
            "sockd.toml:2:3: unknown key server.prot; did you mean server.port?",
        ),
        (
            "[servr]\nport = 1",
            "sockd.toml:1:2: unknown key servr; did you mean server?",
        ),
        (
            "port = 1",
            "sockd.toml:1:1: unknown key port; did you mean server.port?",
        ),
        (
            "[server]\nping_interval = \"1s\"",
            "sockd.toml:2:1: unknown key server.ping_interval; did you mean socketio.ping_interval?",
        ),
        (
            "server.colour = 1",
            "sockd.toml:1:8: unknown key server.colour; remove it, or see `sockd config show` for the keys",
        ),
        (
            "server = 1",
            "sockd.toml:1:1: server is a section; write [server]",
        ),
    ] {
        assert_eq!(told(toml), problem);
    }
}

#[test]
fn columns_are_counted_in_characters() {
    let problems = Start::new()
        .toml("log = { level = \"info\", \"ä\" = 1, formt = 1 }")
        .problems();
    assert!(
        problems.contains("sockd.toml:1:25: unknown key log.ä"),
        "{problems}"
    );
    assert!(
        problems.contains("sockd.toml:1:34: unknown key log.formt"),
        "{problems}"
    );
}

#[test]
fn unknown_own_variables_are_told_with_the_nearest_known_one() {
    let start = Start::new()
        .env("SOCKD_SERVER__PROT", "1")
        .env("SOCKD_URL", "http://elsewhere")
        .env("SOCKD_SECRET_FILE", "x")
        .file(".env", "SOCKD_COLOURS__ALL=1");
    assert_eq!(
        start.problems(),
        ".env:1: SOCKD_COLOURS__ALL: no such setting; unset it, or see `sockd config show` for the keys\n\
         environment SOCKD_SERVER__PROT: no such setting; did you mean SOCKD_SERVER__PORT?"
    );
}

#[test]
fn a_variable_with_one_underscore_too_few_is_a_warning() {
    let start = Start::new().env("SOCKD_SERVER_PORT", "1");
    assert_eq!(
        start.warnings(),
        [
            "environment SOCKD_SERVER_PORT: not read; did you mean SOCKD_SERVER__PORT, with two underscores?"
        ]
    );
    assert_eq!(start.config().server.port, 3000);
}

#[test]
fn what_is_no_toml_is_told_by_its_place_without_the_line() {
    let start = Start::new().toml("[auth]\nsecret = \"hunter2");
    let problems = start.problems();
    assert!(problems.starts_with("sockd.toml:2:"), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn values_of_another_type_are_told_with_what_is_wanted() {
    let told = |toml: &str| Start::new().toml(toml).problems();
    for (toml, problem) in [
        (
            "server.port = \"3000\"",
            "server.port: \"3000\" is not a whole number; choose from 0 to 65535",
        ),
        (
            "server.body_timeout = 10",
            "server.body_timeout: 10 is not a duration with its unit such as \"25s\"; choose from 1ms to 1d",
        ),
        (
            "internal.max_body = 1048576",
            "internal.max_body: 1048576 is not a size with its unit such as \"64KiB\"; choose from 1B to 1GiB",
        ),
        (
            "auth.algorithms = \"HS256\"",
            "auth.algorithms: \"HS256\" is not a list of texts; write for example [\"HS256\"]",
        ),
        (
            "auth.secret = 12345",
            "auth.secret: what is given is not a text; write it in quotes",
        ),
        (
            "metrics.public = \"true\"",
            "metrics.public: \"true\" is not true or false; write one of them, in the file without quotes",
        ),
        (
            "ids.any_charset = \"z-a\"",
            "ids.any_charset: \"z-a\" is not characters and ranges; write for example \"a-zA-Z0-9_.-\"",
        ),
    ] {
        let told = told(toml);
        assert!(told.ends_with(problem), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    for (key, value) in [
        ("server.port", "65536"),
        ("server.port", "-1"),
        ("server.backlog", "0"),
        ("server.header_timeout", "0s"),
        ("server.keep_alive", "0s"),
        ("internal.concurrency", "0"),
        ("server.shutdown_timeout", "2d"),
        ("server.max_header_size", "1KiB"),
        ("socketio.ping_interval", "0ms"),
        ("socketio.max_payload", "1000000"),
        ("sessions.ttl", "500ms"),
        ("ids.any_max_length", "257"),
        ("events.supported", "a*b"),
        ("log.level", "verbose"),
        ("log.level", "info,sockd=loud"),
        ("cors.origin", "https://a.example https://b.example"),
        ("server.host", "http://localhost"),
        ("metrics.public", "yes"),
    ] {
        let start = Start::new().flag("--set", key, value);
        assert!(
            start
                .problems()
                .starts_with(&format!("flag --set: {key}: ")),
            "{key}"
        );
    }
    for (key, value) in [
        ("server.port", "0"),
        ("server.drain_window", "0s"),
        ("socketio.max_payload", "1 MB"),
        ("sessions.ttl", "1w"),
        ("log.level", "INFO,sockd=debug,hyper::proto=warn"),
        ("metrics.public", "false"),
    ] {
        Start::new().flag("--set", key, value).config();
    }
}

#[test]
fn one_source_may_not_say_the_same_in_two_ways() {
    let start = Start::bare()
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .file("jwt.key", JWT_SECRET)
        .toml("[auth]\nsecret = \"hunter2\"\nsecret_file = \"jwt.key\"\n[redis]\nurl = \"redis://r\"\nhost = \"r\"");
    assert_eq!(
        start.problems(),
        "sockd.toml:2:1: auth.secret: auth.secret_file is given too, at sockd.toml:3; keep one\n\
         sockd.toml:6:1: redis.host: redis.url is given too, at sockd.toml:5; keep one"
    );
    let start = Start::new()
        .file("jwt.key", JWT_SECRET)
        .env("JWT_SECRET_FILE", "jwt.key");
    assert_eq!(
        start.problems(),
        "environment JWT_SECRET: auth.secret: auth.secret_file is given too, at environment \
         JWT_SECRET_FILE; keep one"
    );
}

#[test]
fn a_folder_named_dotenv_is_passed_over() {
    Start::new().file(".env/bin/activate", "").config();
}
