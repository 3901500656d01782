//! A redis-server of the test's own.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Instant,
};

use redis::{Commands, Connection};
use tempfile::TempDir;

use super::{
    PATIENCE, eventually,
    process::{connect_redis, free_port, signal},
};

/// How long a session is stored, in seconds.
const TTL: i64 = 604_800;

/// A running redis-server; killed when dropped.
pub struct Redis {
    child: Child,
    pub port: u16,
    directory: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
}

/// What a server has run, as MONITOR shows it.
#[derive(Default)]
pub struct Monitor(Arc<Mutex<Vec<String>>>);

impl Monitor {
    /// How many commands there were that mention all of this.
    pub fn count(&self, words: &[&str]) -> usize {
        let commands = self.0.lock().expect("the list is whole");
        let is_meant = |line: &&String| words.iter().all(|word| line.contains(word));
        commands.iter().filter(is_meant).count()
    }

    /// Waits until there was one.
    pub async fn sees(&self, words: &[&str]) {
        eventually(PATIENCE, "a command at Redis", || async {
            self.count(words) > 0
        })
        .await;
    }
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments for redis-server, such as `--maxmemory 1mb`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        Self::start_program("redis-server", arguments).await
    }

    /// Another server that takes the arguments of redis-server, such as valkey-server.
    pub async fn start_program(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        let program = program.into();
        let arguments: Vec<_> = arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect();
        // Another process may take the port between our look and redis-server's bind.
        for _ in 0..10 {
            let port = free_port();
            let directory = tempfile::tempdir().expect("a temporary directory");
            let child = spawn(&program, port, &directory, &arguments);
            let mut redis = Self {
                child,
                port,
                directory,
                program: program.clone(),
                arguments: arguments.clone(),
            };
            if redis.is_up().await {
                return redis;
            }
        }
        panic!("redis-server did not start ten times over");
    }

    /// The URL for sockd and for clients.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection for looking at keys, or setting them behind sockd's back.
    pub fn connection(&self) -> Connection {
        connect_redis(self.port)
    }

    /// Gives it a command that it must take.
    pub fn run(&self, command: &[&str]) {
        let mut connection = self.connection();
        let answer = redis::cmd(command[0])
            .arg(&command[1..])
            .query::<redis::Value>(&mut connection);
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }

    pub fn info(&self, section: &str) -> String {
        let mut info = redis::cmd("INFO");
        let info = info.arg(section).query(&mut self.connection());
        info.expect("INFO works")
    }

    /// Makes it a replica, and waits until it has all that the other has.
    pub async fn follow(&self, master: &Self) {
        self.run(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
        eventually(PATIENCE, "the replication link", async || {
            let state = self.info("replication");
            state.contains("master_link_status:up") && state.contains("master_sync_in_progress:0")
        })
        .await;
    }

    /// Makes it a master.
    pub fn lead(&self) {
        self.run(&["REPLICAOF", "NO", "ONE"]);
    }

    /// The text under a user's key, as the TypeScript server would find it.
    pub fn stored(&self, user: &str) -> Option<String> {
        self.connection().get(key(user)).expect("GET works")
    }

    /// Seconds until a user's key is forgotten.
    pub fn ttl(&self, user: &str) -> i64 {
        self.connection().ttl(key(user)).expect("TTL works")
    }

    /// Whether a user's key has just got the whole time of a session, a busy machine taken into account.
    pub fn is_renewed(&self, user: &str) -> bool {
        (TTL - 60..=TTL).contains(&self.ttl(user))
    }

    /// Puts a text under a user's key.
    pub fn store(&self, user: &str, text: &str, ttl: u64) {
        let () = self
            .connection()
            .set_ex(key(user), text, ttl)
            .expect("SET works");
    }

    /// Forgets a user's session, as a flush or a lost replica would.
    pub fn forget(&self, user: &str) {
        let () = self.connection().del(key(user)).expect("DEL works");
    }

    /// Every command that it runs from now on.
    pub fn monitor(&self) -> Monitor {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("Redis listens");
        (&stream)
            .write_all(b"MONITOR\r\n")
            .expect("Redis takes a command");
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).expect("Redis answers");
        assert_eq!(line, "+OK\r\n");
        let monitor = Monitor::default();
        let commands = monitor.0.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                commands.lock().expect("the list is whole").push(line);
            }
        });
        monitor
    }

    /// Kills the server and everything in it.
    pub fn kill(&mut self) {
        self.child
            .kill()
            .expect("the test's own redis-server can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Starts it again, empty, on the same port.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.program, self.port, &self.directory, &self.arguments);
        assert!(
            self.is_up().await,
            "redis-server did not come back on its port"
        );
    }

    /// Starts it again on another port, since its own may have been taken meanwhile, with its data
    /// if it kept any and with more arguments; does not wait until it answers.
    pub fn begin_restart(&mut self, arguments: &[&str]) {
        let more = arguments.iter().map(|&argument| argument.to_owned());
        let arguments: Vec<_> = self.arguments.iter().cloned().chain(more).collect();
        self.port = free_port();
        self.child = spawn(&self.program, self.port, &self.directory, &arguments);
    }

    /// Freezes it: connections stay and are accepted, and there are no replies.
    pub fn freeze(&self) {
        signal(self.child.id(), "STOP");
    }

    pub fn thaw(&self) {
        signal(self.child.id(), "CONT");
    }

    pub async fn is_up(&mut self) -> bool {
        let client = redis::Client::open(self.url()).expect("a Redis URL");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(mut connection) = client.get_connection()
                && redis::cmd("PING").query::<String>(&mut connection).is_ok()
            {
                return true;
            }
            let gone = self.child.try_wait().expect("it can be asked").is_some();
            if gone || Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Frozen or not, and no failure if a test has killed it before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The key of a user's active session.
pub fn key(user: &str) -> String {
    format!("socket:active_session:{user}")
}

fn spawn(program: &Path, port: u16, directory: &TempDir, arguments: &[String]) -> Child {
    Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(directory.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server starts; where it is missing: apt-get install redis-server, or run tests/run")
}

/// Waits until this many nodes are subscribed to the user's channel.
pub async fn heard_by(redis: &Redis, user: &str, nodes: usize) {
    has_subscribers(redis, &format!("sockd:user:{user}"), nodes).await;
}

/// Waits until Redis has seen that nobody is subscribed to the channel any more.
pub async fn is_left_by_all(redis: &Redis, channel: &str) {
    has_subscribers(redis, channel, 0).await;
}

async fn has_subscribers(redis: &Redis, channel: &str, count: usize) {
    eventually(PATIENCE, "the channel's subscriptions", || async {
        let counts: (String, usize) = redis::cmd("PUBSUB")
            .arg("NUMSUB")
            .arg(channel)
            .query(&mut redis.connection())
            .expect("NUMSUB works");
        counts.1 == count
    })
    .await;
}
