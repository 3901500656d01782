//! The built binary as an operator runs it: a command, and its output.

use std::{
    collections::BTreeMap,
    fs,
    io::PipeWriter,
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

use super::{
    PATIENCE, jwt,
    sockd::{INTERNAL_SECRET, Sockd},
    within,
};

/// A folder to run commands in, and an environment of its own.
pub struct Shell {
    directory: TempDir,
    environment: BTreeMap<String, String>,
}

/// The output of a command.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Shell {
    /// An empty folder, and no variable but the `PATH`.
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
            environment: BTreeMap::new(),
        }
        .env("PATH", std::env::var("PATH").unwrap_or_default())
    }

    /// With what is needed to call a server of the tests.
    pub fn at(sockd: &Sockd) -> Self {
        Self::new()
            .env("SOCKD_URL", sockd.url())
            .env("INTERNAL_SECRET", INTERNAL_SECRET)
    }

    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), content).expect("the folder takes a file");
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs `sockd` with these arguments and nothing on stdin.
    pub async fn run(&self, arguments: &[&str]) -> Done {
        self.run_with(arguments, "").await
    }

    /// Runs `sockd` with this text on stdin.
    pub async fn run_with(&self, arguments: &[&str], stdin: &str) -> Done {
        let mut child = self.spawn(arguments);
        let mut pipe = child.stdin.take().expect("stdin is piped");
        let text = stdin.to_owned();
        // A command that needs no stdin may be gone before it has read any.
        let write = async move { pipe.write_all(text.as_bytes()).await.ok() };
        let (_, done) = tokio::join!(write, finished(child));
        done
    }

    /// Runs `sockd` with a stdout whose reader has gone.
    pub async fn run_unread(&self, arguments: &[&str]) -> Done {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        finished(self.spawn_into(arguments, writer)).await
    }

    /// Starts `sockd` with this stdout.
    pub fn spawn_into(&self, arguments: &[&str], stdout: PipeWriter) -> Child {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_sockd")));
        command.args(arguments).stdout(stdout);
        command.spawn().expect("the built binary starts")
    }

    /// Runs a line of `sh`, in which `sockd` is the built binary.
    pub async fn sh(&self, line: &str) -> Done {
        let mut command = self.command(Path::new("sh"));
        let binary = env!("CARGO_BIN_EXE_sockd");
        command.args(["-c", &format!("sockd() {{ '{binary}' \"$@\"; }}\n{line}")]);
        finished(command.spawn().expect("sh starts")).await
    }

    /// Starts `sockd` with pipes on all sides.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_sockd")));
        command
            .args(arguments)
            .spawn()
            .expect("the built binary starts")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(&self.environment)
            // So that nothing stays of one that is killed.
            .env("TMPDIR", self.directory.path())
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// The output and exit code of the process; a secret of the tests is never part of it.
pub async fn finished(child: Child) -> Done {
    let output = within(
        3 * PATIENCE,
        "the end of a command",
        child.wait_with_output(),
    )
    .await
    .expect("it can be waited for");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    let done = Done {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    for secret in [INTERNAL_SECRET, jwt::SECRET] {
        assert!(
            !done.stdout.contains(secret) && !done.stderr.contains(secret),
            "a secret is shown: {done:?}"
        );
    }
    done
}

impl Done {
    /// The result of a command that has done what it should.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The complaint of a command that exits with this code and prints no result.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(
            (self.code, self.stdout.as_str()),
            (Some(code), ""),
            "{self:?}"
        );
        self.stderr
    }
}
