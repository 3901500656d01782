//! `sockd config`: what holds, where it came from, and all that is wrong with it.

use std::{fs, net::TcpListener, os::unix::fs::MetadataExt, process::Command};

use serde_json::{Value, json};

use crate::support::{command::Shell, jwt, sockd::INTERNAL_SECRET};

const CHECK: [&str; 2] = ["config", "check"];

/// With the secrets that a server needs, and nothing else.
fn shell() -> Shell {
    Shell::new()
        .env("JWT_SECRET", jwt::SECRET)
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
}

/// What `config show` says of a key: its value and where it came from.
async fn shown(shell: &Shell, key: &str) -> (String, String) {
    let done = shell.run(&["config", "show", "--json"]).await;
    let rows = done.ok();
    let row = rows
        .lines()
        .map(|row| serde_json::from_str(row).expect("JSON"))
        .find(|row: &Value| row["key"] == key);
    let row = row.unwrap_or_else(|| panic!("{key} is not shown"));
    let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
    (text("value"), text("origin"))
}

#[tokio::test]
async fn a_valid_configuration_is_reported_with_where_sessions_are_kept() {
    let memory = shell().run(&CHECK).await;
    assert_eq!(memory.stderr, "");
    let expected = "ok
file      none
listen    :: port 3000
sessions  in memory: lost on restart and not shared with other nodes; set redis.url to keep them
";
    assert_eq!(memory.ok(), expected);
    let redis = shell()
        .env("REDIS_PASS", "hunter2")
        .file("sockd.toml", "[server]\nport = 8080\n")
        .run(&CHECK)
        .await
        .ok();
    let expected = "ok
file      sockd.toml
listen    :: port 8080
sessions  in Redis at redis://127.0.0.1:6379, shared by all nodes there
";
    assert_eq!(redis, expected);

    let odd = Shell::new()
        .env("JWT_SECRET", "short")
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .env("SOCKD_SERVER_PORT", "1");
    let done = odd.run(&CHECK).await;
    assert!(
        done.stderr
            .contains("warning: auth.secret: shorter than the 32 bytes"),
        "{done:?}"
    );
    assert!(
        done.stderr.contains(
            "warning: environment SOCKD_SERVER_PORT: not read; did you mean SOCKD_SERVER__PORT"
        ),
        "{done:?}"
    );
    done.ok();
    let done = odd.run(&["config", "check", "--json"]).await;
    let checked: Value = serde_json::from_str(&done.ok()).expect("JSON");
    assert_eq!(
        (&checked["ok"], checked["warnings"].as_array().map(Vec::len)),
        (&json!(true), Some(2))
    );
}

#[tokio::test]
async fn all_problems_are_reported_at_once_with_their_positions_and_the_nearest_key() {
    let toml = r#"[server]
prt = 3
  port = "x"
host = 7
[auht]
secret = "hunter2"
[auth]
secret = 12
previous_secrets = "hunter3"
[redis]
url = "http://user:hunter4@host"
[log]
level = "inof"
nothing_like_it = 1
"#;
    let shell = Shell::new()
        .file("sockd.toml", toml)
        .file(".env", "A=b\nCORS_ORIGIN='a b'\n")
        .env("SOCKD_SERVER__PROT", "1")
        .env("SOCKD_SESSIONS__TTL", "7");
    let expected = [
        "sockd.toml:2:1: unknown key server.prt; did you mean server.port?",
        "sockd.toml:3:3: server.port: \"x\" is not a whole number; choose from 0 to 65535",
        "sockd.toml:4:1: server.host: 7 is not an address",
        "sockd.toml:5:2: unknown key auht; did you mean auth?",
        "sockd.toml:8:1: auth.secret: what is given is not a text",
        "sockd.toml:9:1: auth.previous_secrets: what is given is not a list",
        "sockd.toml:11:1: redis.url: what is given is not a Redis URL",
        "sockd.toml:13:1: log.level: \"inof\" is not a log filter",
        "sockd.toml:14:1: unknown key log.nothing_like_it; remove it",
        "environment SOCKD_SERVER__PROT: no such setting; did you mean SOCKD_SERVER__PORT?",
        "environment SOCKD_SESSIONS__TTL: sessions.ttl: \"7\" is not a duration with its unit",
        ".env:2: CORS_ORIGIN: cors.origin: \"a b\" is not an origin",
        "internal.secret: not set; set INTERNAL_SECRET, AUTH_TOKEN or SECRET_KEY",
    ];
    // The server refuses to start with the same words.
    for command in [&CHECK[..], &["serve"]] {
        let stderr = shell.run(command).await.fails(2);
        let told: Vec<_> = stderr.lines().collect();
        assert_eq!(told.len(), expected.len(), "{stderr}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(
                told.starts_with(&format!("error: {expected}")),
                "{told}\n{expected}"
            );
        }
        assert!(!stderr.contains("hunter"), "{stderr}");
    }

    let done = shell.run(&["config", "check", "--json"]).await;
    assert_eq!((done.code, done.stderr.as_str()), (Some(2), ""), "{done:?}");
    let wrong: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(wrong["ok"], json!(false));
    let problems = wrong["problems"].as_array().expect("a list");
    assert_eq!(problems.len(), expected.len());

    // What can be shown is, and the rest is no secret.
    let done = shell.run(&["config", "show"]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(
        done.stdout.contains("(invalid)") && !done.stdout.contains("hunter"),
        "{done:?}"
    );
    assert!(done.stderr.contains("unknown key server.prt"), "{done:?}");
}

/// As `sudo -u sockd` in one's own home. What such a user may see and not read is a mistake.
#[test]
fn a_directory_that_may_not_be_searched_counts_as_empty() {
    // Root may look into everything, so it becomes somebody else. The program may be out of sight too.
    const AS_ANOTHER: &str = r#"
        cd "$1" && exec 3< "$0" && chmod "$3" sockd.toml .env && chmod "$2" . || exit 9
        if [ "$(id -u)" = 0 ]; then
            setpriv --reuid 65534 --regid 65534 --clear-groups /proc/self/fd/3 config check
        else
            /proc/self/fd/3 config check
        fi
        code=$?
        chmod 700 "$1"
        exit $code
    "#;
    let is_root = fs::metadata("/proc/self").expect("this process").uid() == 0;
    let modes = if is_root { ["700", "600"] } else { ["0", "0"] };
    for (folder, file, code, complaint) in [
        (modes[0], "644", 0, ""),
        (
            "755",
            modes[1],
            2,
            "sockd.toml: cannot be read: Permission denied",
        ),
    ] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("sockd.toml"), "[server]\nport = 1\n").expect("a file");
        fs::write(directory.path().join(".env"), "PORT=2\n").expect("a file");
        let checked = Command::new("sh")
            .args(["-c", AS_ANOTHER, env!("CARGO_BIN_EXE_sockd")])
            .arg(directory.path())
            .args([folder, file])
            .env("JWT_SECRET", jwt::SECRET)
            .env("INTERNAL_SECRET", INTERNAL_SECRET)
            .output()
            .expect("sh starts");
        let stderr = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(complaint), "{stderr}");
    }
}

#[tokio::test]
async fn an_unreadable_file_is_named() {
    let shell = shell()
        .file("bad.toml", "[auth]\nsecret = \"hunter2\n")
        .file("latin1.toml", [b'#', 0xe4]);
    for (arguments, complaint) in [
        (["--config", "bad.toml"], "bad.toml:2:18: not TOML"),
        (
            ["--config", "nope.toml"],
            "flag --config: \"nope.toml\" not found; create it or name another",
        ),
        (["--config", "latin1.toml"], "latin1.toml: cannot be read"),
    ] {
        let stderr = shell.run(&[&arguments[..], &CHECK].concat()).await.fails(2);
        assert!(
            stderr.starts_with(&format!("error: {complaint}")),
            "{stderr}"
        );
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
    let stderr = shell
        .env("SOCKD_CONFIG", "nope.toml")
        .run(&CHECK)
        .await
        .fails(2);
    assert!(
        stderr.starts_with("error: environment SOCKD_CONFIG: \"nope.toml\" not found"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_stronger_source_wins_over_a_weaker_one() {
    let of = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    let shell = shell();
    assert_eq!(shown(&shell, "server.port").await, of("3000", "default"));
    let shell = shell.file("sockd.toml", "[server]\nport = 1\n");
    assert_eq!(shown(&shell, "server.port").await, of("1", "sockd.toml:2"));
    let shell = shell.file(".env", "PORT=2\n");
    assert_eq!(shown(&shell, "server.port").await, of("2", ".env PORT"));
    let shell = shell.env("PORT", "3");
    assert_eq!(
        shown(&shell, "server.port").await,
        of("3", "environment PORT")
    );
    let shell = shell.env("SOCKD_SERVER__PORT", "4");
    assert_eq!(
        shown(&shell, "server.port").await,
        of("4", "environment SOCKD_SERVER__PORT")
    );
    // Which port a flag gives is seen where it cannot be had.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let serve = ["serve", "--host", "127.0.0.1", "--port", &port];
    let stderr = shell.run(&serve).await.fails(1);
    assert!(
        stderr.contains(&format!("port {port} is taken")),
        "{stderr}"
    );

    let shell = shell
        .env("SOCKD_CONFIG", "other.toml")
        .file("other.toml", "[ids]\nuser = \"uuid\"\n");
    assert_eq!(shown(&shell, "ids.user").await, of("uuid", "other.toml:2"));
    let shell = shell.file("third.toml", "[ids]\nuser = \"any\"\n");
    let done = shell
        .run(&["config", "show", "--config", "third.toml"])
        .await
        .ok();
    assert!(done.contains("third.toml:2"), "{done}");
}

#[tokio::test]
async fn every_variable_of_the_typescript_server_is_read() {
    for (name, value, key, expected) in [
        ("PORT", "8080", "server.port", "8080"),
        ("JWT_SECRET", jwt::SECRET, "auth.secret", "(redacted)"),
        (
            "JWT_ALGORITHMS",
            "HS256, RS256",
            "auth.algorithms",
            "HS256,RS256",
        ),
        (
            "CORS_ORIGIN",
            "https://a, https://b",
            "cors.origin",
            "https://a,https://b",
        ),
        (
            "INTERNAL_SECRET",
            INTERNAL_SECRET,
            "internal.secret",
            "(redacted)",
        ),
        (
            "AUTH_TOKEN",
            INTERNAL_SECRET,
            "internal.secret",
            "(redacted)",
        ),
        (
            "SECRET_KEY",
            INTERNAL_SECRET,
            "internal.secret",
            "(redacted)",
        ),
        ("REDIS_HOST", "redis.example", "redis.host", "redis.example"),
        ("REDIS_PORT", "7000", "redis.port", "7000"),
        ("REDIS_PASS", "hunter2", "redis.password", "(redacted)"),
    ] {
        for (shell, origin) in [
            (Shell::new().env(name, value), "environment"),
            (Shell::new().file(".env", format!("{name}={value}")), ".env"),
        ] {
            let origin = format!("{origin} {name}");
            assert_eq!(shown(&shell, key).await, (expected.to_owned(), origin));
        }
        if expected == "(redacted)" {
            let shell = Shell::new()
                .file("secret", value)
                .env(&format!("{name}_FILE"), "secret");
            let shown = shown(&shell, &format!("{key}_file")).await;
            assert_eq!(
                shown,
                ("secret".to_owned(), format!("environment {name}_FILE"))
            );
        }
    }
    let stderr = Shell::new()
        .env("JWT_SECRET_FILE", "nope")
        .run(&CHECK)
        .await
        .fails(2);
    assert!(
        stderr.contains("auth.secret_file: \"nope\" not found; create it or set JWT_SECRET"),
        "{stderr}"
    );
}

#[tokio::test]
async fn no_secret_is_ever_shown() {
    let toml = r#"[auth]
previous_secrets = ["hunter-a", "hunter-b"]
[internal]
previous_secrets = ["hunter-c"]
[redis]
url = "redis://user:hunter-d@127.0.0.1:1/2"
"#;
    let shell = shell().file("sockd.toml", toml);
    for command in [
        "config check",
        "config check --json",
        "config show",
        "config show --json",
        "sessions ls",
        "token mint",
        "token check x",
        "emit u e",
    ] {
        let arguments: Vec<_> = command.split(' ').collect();
        let done = shell.run(&arguments).await;
        assert!(
            !done.stdout.contains("hunter") && !done.stderr.contains("hunter"),
            "{done:?}"
        );
    }
    let (url, _) = shown(&shell, "redis.url").await;
    assert_eq!(url, "redis://user:(redacted)@127.0.0.1:1/2");
}

#[tokio::test]
async fn the_example_is_a_valid_configuration() {
    let example = shell().run(&["config", "example"]).await.ok();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
    assert_eq!(example, std::fs::read_to_string(file).expect("the example"));
    let done = shell().file("sockd.toml", example).run(&CHECK).await;
    assert_eq!(done.stderr, "");
    done.ok();
}

#[tokio::test]
async fn colour_is_for_terminals_that_want_it() {
    for (name, value, coloured) in [("TERM", "xterm", true), ("NO_COLOR", "1", false)] {
        let shell = Shell::new().env(name, value);
        // util-linux's script gives the command a terminal.
        let binary = env!("CARGO_BIN_EXE_sockd");
        let done = shell
            .sh(&format!(
                "script -qec '{binary} config check' /dev/null </dev/null"
            ))
            .await;
        assert_eq!(
            done.stdout.contains("\u{1b}[1;31merror:"),
            coloured,
            "{done:?}"
        );
        let piped = shell.run(&CHECK).await.fails(2);
        assert!(piped.starts_with("error: "), "{piped}");
    }
}
