//! `sockd doctor`: what it finds, what it says to do, and what it exits with.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{
    command::Done, doctor::Doctor, jwt, process::free_port, redis::Redis, sockd::INTERNAL_SECRET,
};

#[tokio::test]
async fn a_good_redis_passes_every_check_and_nothing_is_left_in_it() {
    let redis = Redis::start().await;
    let mut connection = redis.connection();
    let examined = Doctor::of(&redis).examine().await;
    assert_eq!(
        examined.code,
        Some(0),
        "{}{}",
        examined.stdout,
        examined.stderr
    );
    for check in [
        "settings", "secrets", "redis", "version", "role", "eviction", "rights", "writes",
        "operator", "canary", "clock",
    ] {
        examined.assert(check, "ok", &[]);
    }
    let (_, latency) = examined.check("latency");
    assert!(
        latency.contains("median") && latency.contains("worst"),
        "{latency}"
    );
    let report: Value = serde_json::from_str(&examined.stdout).expect("JSON");
    assert_eq!(report["ok"], true);

    let keys: usize = redis::cmd("DBSIZE").query(&mut connection).expect("DBSIZE");
    assert_eq!(keys, 0);
    let channels: Vec<String> = redis::cmd("PUBSUB")
        .arg("CHANNELS")
        .query(&mut connection)
        .expect("CHANNELS");
    assert_eq!(channels, [""; 0]);
    let memory: String = redis::cmd("INFO")
        .arg("memory")
        .query(&mut connection)
        .expect("INFO");
    assert!(memory.contains("number_of_cached_scripts:0"), "{memory}");
}

#[tokio::test]
async fn where_the_internal_routes_are_served_is_reported() {
    let doctor = async |listen: &str| {
        Doctor::new()
            .env("SOCKD_INTERNAL__LISTEN", listen)
            .examine()
            .await
    };
    doctor("")
        .await
        .assert("internal", "ok", &["share port 3000 with the clients"]);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    doctor(&address)
        .await
        .assert("internal", "ok", &["at", &address, "the port is free"]);
    let _taken = std::net::TcpListener::bind(&address).expect("a free port");
    doctor(&address)
        .await
        .assert("internal", "ok", &["a process is listening on it now"]);
    doctor("[::1]:0")
        .await
        .assert("internal", "ok", &["a port that the system chooses"]);
    // Of a documentation's network (RFC 5737), which no machine is in.
    let foreign = doctor("203.0.113.1:3001").await;
    let remedy = "set internal.listen to an address of this machine";
    foreign.assert(
        "internal",
        "fail",
        &["203.0.113.1:3001 is not available", remedy],
    );
    let socket = doctor("unix:internal.sock").await;
    socket.assert(
        "internal",
        "ok",
        &["/internal.sock with mode 0660 and group of sockd"],
    );
    let nowhere = doctor("unix:none/internal.sock").await;
    nowhere.assert("internal", "fail", &["none does not exist", "create it"]);
    assert_eq!(nowhere.code, Some(1));
    doctor("no.such.host.invalid:1").await.assert(
        "internal",
        "fail",
        &["is not available", remedy],
    );
}

#[tokio::test]
async fn the_text_output_has_a_line_per_check_and_then_the_remedies() {
    let redis = Redis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let examined = Doctor::of(&redis).run(&[]).await;
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    assert_eq!(examined.stderr, "");
    let (lines, remedies) = examined
        .stdout
        .split_once("\n\nWhat to do next:\n")
        .expect("remedies");
    for line in lines.lines() {
        let word = line.split_whitespace().next();
        assert!(matches!(word, Some("ok" | "warn")), "{line}");
    }
    assert!(lines.contains("\nwarn  eviction  allkeys-lru"), "{lines}");
    assert!(
        remedies.contains("CONFIG SET maxmemory-policy noeviction"),
        "{remedies}"
    );
    assert!(
        !examined.stdout.contains('\u{1b}'),
        "colour without a terminal"
    );
}

#[tokio::test]
async fn a_terminal_gets_colours_unless_the_person_or_the_terminal_wants_none() {
    let on_terminal = |arguments: &str, name: &str, value: &str| {
        // `script` gives the command a terminal; it is part of every Debian.
        let output = Command::new("script")
            .args([
                "-qec",
                &format!("{} {arguments}", env!("CARGO_BIN_EXE_sockd")),
                "/dev/null",
            ])
            .env_clear()
            .env("TERM", "xterm")
            .env("JWT_SECRET", jwt::SECRET)
            .env("INTERNAL_SECRET", INTERNAL_SECRET)
            // One warning in the log, then an error that ends the server.
            .env("JWT_ALGORITHMS", "HS256,none")
            .env("SOCKD_SERVER__HOST", "nowhere.invalid")
            .env(name, value)
            .stdin(Stdio::null())
            .output()
            .expect("script starts; where it is missing: apt-get install bsdutils");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for (arguments, coloured, plain) in [
        (
            "doctor",
            "\u{1b}[1;33mwarn\u{1b}[0m  sessions",
            "warn  sessions",
        ),
        ("serve", "\u{1b}[33m WARN\u{1b}[0m", " WARN "),
        ("emitt", "\u{1b}[", "error: unrecognized subcommand"),
        ("token mint --nope", "\u{1b}[", "error: unexpected argument"),
    ] {
        let output = on_terminal(arguments, "TERM", "xterm");
        assert!(output.contains(coloured), "{arguments}: {output:?}");
        for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let output = on_terminal(arguments, name, value);
            assert!(
                output.contains(plain) && !output.contains('\u{1b}'),
                "{arguments} {name}: {output:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_redis_that_may_evict_sessions_or_is_nearly_full_is_a_warning() {
    let redis = Redis::start().await;
    let set = |settings: &[(&str, &str)]| {
        for (name, value) in settings {
            let set = redis::cmd("CONFIG")
                .arg("SET")
                .arg(name)
                .arg(value)
                .exec(&mut redis.connection());
            set.expect("CONFIG SET works");
        }
    };
    for policy in [
        "volatile-lru",
        "volatile-ttl",
        "allkeys-lfu",
        "allkeys-random",
    ] {
        set(&[("maxmemory-policy", policy)]);
        Doctor::of(&redis)
            .examine()
            .await
            .assert("eviction", "warn", &[policy, "noeviction"]);
    }
    set(&[("maxmemory-policy", "noeviction"), ("maxmemory", "1gb")]);
    Doctor::of(&redis)
        .examine()
        .await
        .assert("eviction", "ok", &["of 1073741824 bytes"]);
    let memory: String = redis::cmd("INFO")
        .arg("memory")
        .query(&mut redis.connection())
        .expect("INFO works");
    let used = memory
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let used: u64 = used.and_then(|used| used.parse().ok()).expect("a number");
    set(&[("maxmemory", &(used + 20_000).to_string())]);
    Doctor::of(&redis).examine().await.assert(
        "eviction",
        "warn",
        &["noeviction", "raise maxmemory"],
    );
}

#[tokio::test]
async fn a_pem_key_after_other_lines_is_not_a_weak_secret() {
    let key = include_str!("../../fixtures/keys/rsa.pub.pem");
    for before in [
        "Bag Attributes\n    localKeyID: 01\nKey Attributes: <No Attributes>\n",
        "\n\n",
    ] {
        let examined = Doctor::new()
            .env("JWT_SECRET", format!("{before}{key}"))
            .env("JWT_ALGORITHMS", "RS256")
            .examine()
            .await;
        examined.assert("settings", "ok", &[]);
        examined.assert("secrets", "ok", &["2, none"]);
    }
}

#[tokio::test]
async fn guessable_secrets_fail_and_are_never_shown() {
    let examined = Doctor::new()
        .env("JWT_SECRET", "hunter2-hunter2")
        .env("INTERNAL_SECRET", "letmein")
        .env("SOCKD_INTERNAL__PREVIOUS_SECRETS", "swordfish")
        .env("SOCKD_METRICS__SECRET", "prometheus")
        .examine()
        .await;
    assert_eq!(examined.code, Some(1));
    let report: Value = serde_json::from_str(&examined.stdout).expect("JSON");
    assert_eq!(report["ok"], false);
    for name in [
        "auth.secret",
        "internal.secret",
        "internal.previous_secrets, entry 1",
        "metrics.secret",
    ] {
        let text = format!("{name} can be guessed");
        assert!(
            examined.stdout.contains(&text),
            "{text}: {}",
            examined.stdout
        );
    }
    examined.assert("settings", "warn", &["auth.secret", "32 bytes"]);
    for secret in ["hunter2", "letmein", "swordfish", "prometheus"] {
        assert!(!examined.stdout.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_secret_for_two_purposes_is_a_warning() {
    let examined = Doctor::new()
        .env("INTERNAL_SECRET", jwt::SECRET)
        .examine()
        .await;
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    examined.assert("secrets", "warn", &["in common"]);
    let doctor = Doctor::new().env("SOCKD_METRICS__SECRET", INTERNAL_SECRET);
    let examined = doctor.examine().await;
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    examined.assert("secrets", "warn", &["metrics.secret is also"]);
}

#[tokio::test]
async fn memory_mode_is_a_warning() {
    let examined = Doctor::new().examine().await;
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    examined.assert("sessions", "warn", &["in memory", "redis.url"]);
}

#[tokio::test]
async fn a_low_limit_on_open_files_is_reported_with_the_number_of_sockets() {
    let doctor = format!(
        "ulimit -n 1024 && exec {} doctor --json",
        env!("CARGO_BIN_EXE_sockd")
    );
    let output = Command::new("sh")
        .args(["-c", &doctor])
        .env_clear()
        .env("JWT_SECRET", jwt::SECRET)
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .output()
        .expect("sh starts");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let examined = Done {
        code: output.status.code(),
        stdout,
        stderr: String::new(),
    };
    assert_eq!(examined.code, Some(0));
    examined.assert(
        "files",
        "warn",
        &["1024 open files", "896 sockets", "LimitNOFILE"],
    );
}

#[tokio::test]
async fn an_invalid_configuration_exits_with_2_and_lists_every_problem() {
    let examined = Doctor::new()
        .env("JWT_SECRET", "")
        .env("SOCKD_SERVER__PORT", "x")
        .examine()
        .await;
    assert_eq!(
        examined.code,
        Some(2),
        "{}{}",
        examined.stdout,
        examined.stderr
    );
    for key in ["auth.secret", "server.port"] {
        assert!(examined.stdout.contains(key), "{key}: {}", examined.stdout);
    }
    examined.assert("settings", "fail", &[]);
}

#[tokio::test]
async fn an_absent_redis_exits_with_3() {
    let doctor = Doctor::new().env("REDIS_PORT", free_port().to_string());
    let examined = doctor.examine().await;
    assert_eq!(examined.code, Some(3), "{}", examined.stdout);
    examined.assert(
        "redis",
        "fail",
        &[
            "cannot be reached",
            "Connection refused",
            "start Redis there",
        ],
    );
}

#[tokio::test]
async fn a_silent_redis_exits_with_3_within_the_time_limit() {
    let redis = Redis::start().await;
    redis.freeze();
    let examined = Doctor::of(&redis).run(&["--json"]).await;
    assert_eq!(examined.code, Some(3), "{}", examined.stdout);
    examined.assert("redis", "fail", &["timed out"]);
}

#[tokio::test]
async fn a_wrong_or_missing_password_exits_with_4() {
    let redis = Redis::start().await;
    let set = redis::cmd("CONFIG")
        .arg("SET")
        .arg("requirepass")
        .arg("right")
        .exec(&mut redis.connection());
    set.expect("CONFIG SET works");
    let examined = Doctor::of(&redis)
        .env("REDIS_PASS", "wrong-one")
        .examine()
        .await;
    assert_eq!(examined.code, Some(4), "{}", examined.stdout);
    examined.assert("redis", "fail", &["WRONGPASS", "REDIS_PASS"]);
    assert!(!examined.stdout.contains("wrong-one"));
    let examined = Doctor::of(&redis).examine().await;
    assert_eq!(examined.code, Some(4), "{}", examined.stdout);
    examined.assert("redis", "fail", &["NOAUTH", "REDIS_PASS"]);
    assert_eq!(
        Doctor::of(&redis)
            .env("REDIS_PASS", "right")
            .examine()
            .await
            .code,
        Some(0)
    );
}

#[tokio::test]
async fn a_replica_fails_by_its_role_and_by_what_it_refuses() {
    let (master, replica) = (Redis::start().await, Redis::start().await);
    // Until it has all of the master's data, it may refuse commands for another reason.
    replica.follow(&master).await;
    let examined = Doctor::of(&replica).examine().await;
    assert_eq!(examined.code, Some(1), "{}", examined.stdout);
    examined.assert("role", "fail", &["a replica", "master"]);
    examined.assert("writes", "fail", &["READONLY"]);
}
