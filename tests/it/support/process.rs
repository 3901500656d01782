//! A server program of the test's own that is not sockd.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use super::{PATIENCE, sockd::Builder};

/// A running program; killed when dropped.
pub struct Process(Child);

impl Process {
    /// Starts the program with its output thrown away.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let started = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let missing = "starts; where it is missing, see what tests/run installs";
        Self(started.unwrap_or_else(|error| panic!("{program} {missing}: {error}")))
    }

    /// Kills it, as a failing machine would.
    pub fn kill(&mut self) {
        self.0.kill().expect("the test's own program can be killed");
        self.0.wait().expect("it can be waited for");
    }

    /// Waits until it serves Redis' protocol at the port; `false` if it ends instead, as where
    /// another process took the port first.
    pub async fn serves_redis(&mut self, port: u16) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let own = format!("process_id:{}\r\n", self.0.id());
        while Instant::now() < deadline && !self.has_ended() {
            let info = redis_at(port).and_then(|mut connection| {
                let mut info = redis::cmd("INFO");
                info.arg("server").query::<String>(&mut connection).ok()
            });
            if info.is_some_and(|info| info.contains(&own)) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("it can be asked").is_some()
    }

    pub fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Works on what is stopped, too.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Sends SIG`name` to a process that the test started.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    let is_sent = sent.is_ok_and(|status| status.success());
    assert!(is_sent, "cannot send SIG{name} to {pid}");
}

/// A free port that no other process takes: it is below the range that the system hands out for port 0,
/// and each is given out once in a run.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new((std::process::id() % 10_000) as u16));
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The arguments with which a program of Redis speaks TLS at this port too, and to others of its kind.
pub fn redis_tls(port: u16) -> Vec<String> {
    let file = |name: &str| format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let port = port.to_string();
    let [certificate, key, authority] = ["server.pem", "server.key.pem", "ca.pem"].map(file);
    // Nodes of a Cluster ask each other for one.
    let [own, own_key] = ["client.pem", "client.key.pem"].map(file);
    let arguments = [
        ["--tls-port", &port],
        ["--tls-cert-file", &certificate],
        ["--tls-key-file", &key],
        ["--tls-client-cert-file", &own],
        ["--tls-client-key-file", &own_key],
        ["--tls-ca-cert-file", &authority],
        ["--tls-auth-clients", "no"],
        ["--tls-replication", "yes"],
    ];
    arguments.concat().into_iter().map(str::to_owned).collect()
}

/// The settings of a server of ours that trusts such a program.
pub fn trusting_redis(builder: Builder) -> Builder {
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/ca.pem");
    builder.env("SOCKD_REDIS__TLS_CA_FILE", authority)
}

/// A connection to the server at the port, if one accepts it soon.
pub fn redis_at(port: u16) -> Option<redis::Connection> {
    let connected = client(port).get_connection_with_timeout(Duration::from_secs(1));
    connected.ok()
}

/// A connection to a server that is up, however slow a busy machine makes it.
pub fn connect_redis(port: u16) -> redis::Connection {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client(port).get_connection_with_timeout(PATIENCE) {
            Ok(connection) => return connection,
            // A signal, such as for the end of another test's server, may interrupt it.
            Err(error) => assert!(Instant::now() < deadline, "the Redis at {port}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn client(port: u16) -> redis::Client {
    redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("a Redis URL")
}
