//! The built binary, running.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, eventually, http, jwt, process, redis::Redis, within};
use crate::house::layers;

/// The secret of the internal routes of the tests' servers.
pub const INTERNAL_SECRET: &str = "the-tests-internal-secret-of-32-bytes";

/// What a server is started with; it inherits nothing of the test's environment.
#[derive(Clone)]
pub struct Builder {
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
    prelude: String,
    program: PathBuf,
}

/// A running `sockd serve`; killed when dropped, with its log shown if the test fails.
pub struct Sockd {
    child: Child,
    address: SocketAddr,
    /// Where internal routes are served, if not there: as the log names it.
    internal: Option<String>,
    log: Log,
    /// Reads the log until the process has ended.
    reader: Option<JoinHandle<()>>,
    builder: Builder,
    directory: Arc<TempDir>,
}

/// What the process wrote on stderr so far.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Builder {
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Another program than the built one.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Shell commands that run in the process before it becomes the server.
    pub fn prelude(mut self, lines: &str) -> Self {
        self.prelude = lines.to_owned();
        self
    }

    pub fn redis(self, redis: &Redis) -> Self {
        self.env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", redis.port.to_string())
    }

    /// Starts the server and waits until it listens.
    pub async fn start(self) -> Sockd {
        let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        self.start_in(directory).await
    }

    /// Starts it in a directory that may hold files for it.
    pub async fn start_in(self, directory: Arc<TempDir>) -> Sockd {
        let (child, log, reader) = self.spawn(&directory);
        let mut sockd = Sockd {
            child,
            address: ([127, 0, 0, 1], 0).into(),
            internal: None,
            log,
            reader: Some(reader),
            builder: self,
            directory,
        };
        within(PATIENCE, "the server's address", async {
            while !sockd.find_address() {
                if let Some(status) = sockd.child.try_wait().expect("it can be asked") {
                    panic!("sockd ended with {status} instead of listening");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        sockd
    }

    /// Runs a server that fails to start; returns its exit status and stderr.
    pub async fn fails(self) -> (ExitStatus, String) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        self.fails_in(&directory).await
    }

    /// The same, next to what is in the directory.
    pub async fn fails_in(self, directory: &TempDir) -> (ExitStatus, String) {
        let mut command = tokio::process::Command::from(self.command(directory));
        let output = command.kill_on_drop(true).output();
        let output = within(PATIENCE, "the end of the process", output).await;
        let output = output.expect("the built binary starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status, text)
    }

    pub fn command(&self, directory: &TempDir) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(format!("{}\nexec \"$0\" serve \"$@\"", self.prelude))
            .arg(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            // So that a killed server leaves nothing behind.
            .env("TMPDIR", directory.path())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn spawn(&self, directory: &TempDir) -> (Child, Log, JoinHandle<()>) {
        let mut child = self
            .command(directory)
            .spawn()
            .expect("the built binary starts");
        let log = Log::default();
        let stderr = child.stderr.take().expect("stderr is piped");
        let lines = log.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.0.lock().expect("the log is whole").push(line);
            }
        });
        (child, log, reader)
    }
}

impl Sockd {
    /// What every server of the tests has: secrets, a port of the system's choice, and nothing else.
    pub fn builder() -> Builder {
        Builder {
            environment: BTreeMap::new(),
            arguments: Vec::new(),
            prelude: String::new(),
            program: env!("CARGO_BIN_EXE_sockd").into(),
        }
        .env("PORT", "0")
        .env("JWT_SECRET", jwt::SECRET)
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .env("SOCKD_LOG__LEVEL", "info,sockd=debug")
    }

    /// Sessions in memory.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Sessions in Redis, which it has found already.
    pub async fn with_redis(redis: &Redis) -> Self {
        let sockd = Self::builder().redis(redis).start().await;
        sockd.is_ready(PATIENCE).await;
        sockd
    }

    /// `serve --dev`.
    pub async fn dev() -> Self {
        Self::dev_with(&[]).await
    }

    /// `serve --dev` with more arguments.
    pub async fn dev_with(arguments: &[&str]) -> Self {
        let builder = Builder {
            environment: BTreeMap::new(),
            arguments: Vec::new(),
            prelude: String::new(),
            program: env!("CARGO_BIN_EXE_sockd").into(),
        };
        let arguments = ["--dev", "--port", "0"].iter().chain(arguments);
        let builder = arguments.fold(builder, |builder, argument| builder.argument(argument));
        builder.start().await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address that a command calls it at.
    pub fn internal_url(&self) -> String {
        match &self.internal {
            Some(internal) if internal.starts_with("unix:") => internal.clone(),
            Some(internal) => format!("http://{internal}"),
            None => self.url(),
        }
    }

    /// A request to where internal routes are served.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let url = self.internal_url();
        match url.strip_prefix("unix:") {
            Some(socket) => {
                http::client_of(socket).request(method, format!("http://localhost{path}"))
            }
            None => http::client().request(method, format!("{url}{path}")),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Waits until the phrase is logged; returns the log.
    pub async fn logs(&self, phrase: &str) -> String {
        let what = format!("{phrase:?} in the log");
        eventually(PATIENCE, &what, async || self.log.text().contains(phrase)).await;
        self.log.text()
    }

    /// Waits until `/readyz` is 200.
    pub async fn is_ready(&self, limit: Duration) {
        eventually(limit, "readiness", || self.is_ready_now()).await;
    }

    /// Waits until `/readyz` is 503 with a reason that contains all of the words.
    pub async fn is_not_ready(&self, limit: Duration, words: &[&str]) {
        let what = format!("a node that is not ready, with {words:?}");
        eventually(limit, &what, async || {
            let answer = self.get("/readyz").await;
            if answer.status() != 503 {
                return false;
            }
            let answer: Value = answer.json().await.expect("JSON");
            let reason = answer["reason"].as_str().unwrap_or_default();
            words.iter().all(|word| reason.contains(word))
        })
        .await;
    }

    pub async fn is_ready_now(&self) -> bool {
        let request = self.request(reqwest::Method::GET, "/readyz");
        request.send().await.expect("the server answers").status() == 200
    }

    /// Sends a GET request with the internal secret.
    pub async fn get(&self, path: &str) -> reqwest::Response {
        let request = self.request(reqwest::Method::GET, path);
        let request = request.bearer_auth(INTERNAL_SECRET);
        request.send().await.expect("the server answers")
    }

    /// A figure of `/metrics`, summed over its labels.
    pub async fn figure(&self, name: &str) -> f64 {
        let text = self.metrics().await;
        let known = text.lines().any(|line| line.starts_with(name));
        assert!(known, "there is no metric {name}");
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let is_it = rest.starts_with([' ', '{']);
            is_it.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        values.sum()
    }

    /// Returns the text of `/metrics`.
    pub async fn metrics(&self) -> String {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.status(), 200);
        answer.text().await.expect("a body")
    }

    /// Calls an internal route with the secret.
    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        let request = self.request(reqwest::Method::POST, path);
        let request = request.bearer_auth(INTERNAL_SECRET).json(body);
        request.send().await.expect("the server answers")
    }

    pub async fn emit(&self, user: &str, event: &str, payload: &Value) {
        let body = json!({ "userId": user, "event": event, "payload": payload });
        let answer = self.post("/internal/emit", &body).await;
        assert_eq!(
            answer.status(),
            200,
            "{}",
            answer.text().await.unwrap_or_default()
        );
    }

    /// Returns the number of sockets disconnected.
    pub async fn force_logout(&self, user: &str, session: &str) -> u64 {
        let body = json!({ "userId": user, "sessionId": session });
        let answer = self.post("/internal/force-logout", &body).await;
        assert_eq!(answer.status(), 200);
        let body: Value = answer.json().await.expect("JSON");
        body["disconnected"].as_u64().expect("a count")
    }

    pub fn signal(&self, name: &str) {
        process::signal(self.pid(), name);
    }

    /// Shuts it down by SIGTERM; returns the exit code.
    pub async fn drain(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.ended(PATIENCE).await.code()
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        within(limit, "the end of the process", async {
            loop {
                if let Some(status) = self.child.try_wait().expect("it can be asked") {
                    self.finish_log();
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    pub async fn kill(&mut self) {
        self.child
            .kill()
            .expect("the test's own server can be killed");
        self.child.wait().expect("it can be waited for");
        self.finish_log();
    }

    /// Starts it again on the same port, after it has ended.
    pub async fn restart(&mut self) {
        let builder = self
            .builder
            .clone()
            .env("PORT", self.address.port().to_string());
        *self = builder.start_in(self.directory.clone()).await;
    }

    /// What the process holds in memory, in KiB (`VmRSS`).
    pub fn resident_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it lives");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("a resident size");
        line.split_whitespace()
            .nth(1)
            .and_then(|size| size.parse().ok())
            .expect("in kB")
    }

    /// Reads the rest of the log of a process that has ended.
    fn finish_log(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().ok();
        }
    }

    fn find_address(&mut self) -> bool {
        let text = self.log.text();
        let Some((_, rest)) = text.split_once("listening address=") else {
            return false;
        };
        let mut fields = rest.split_whitespace();
        let address = fields
            .next()
            .and_then(|text| text.parse::<SocketAddr>().ok());
        let Some(address) = address else { return false };
        self.address = ([127, 0, 0, 1], address.port()).into();
        let internal = fields
            .next()
            .and_then(|field| field.strip_prefix("internal="));
        self.internal = internal.map(str::to_owned);
        true
    }
}

impl Drop for Sockd {
    #[expect(
        clippy::print_stderr,
        reason = "the log is needed to understand the failure"
    )]
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        self.finish_log();
        if std::thread::panicking() {
            eprintln!(
                "--- the log of sockd at {}\n{}\n---",
                self.address,
                self.log.text()
            );
        }
    }
}

impl Log {
    pub fn text(&self) -> String {
        self.0.lock().expect("the log is whole").join("\n")
    }

    /// Asserts that the phrase was not logged. It must be in sockd's sources, since a message that was
    /// reworded would be absent as well.
    pub fn lacks(&self, phrase: &str) {
        let is_known = layers::sources().any(|source| source.contains(phrase));
        assert!(is_known, "sockd never logs {phrase:?}");
        let text = self.text();
        assert!(!text.contains(phrase), "{text}");
    }
}
