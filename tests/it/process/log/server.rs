//! Servers that log to something the test reads, or does not read.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, net::UnixStream},
    },
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    task::{JoinHandle, spawn_blocking},
};

use crate::support::{
    PATIENCE, eventually, http, jwt, process,
    sockd::{Builder, INTERNAL_SECRET},
    websocket::WebSocket,
    within,
};
/// What precedes the address in a log, as text and as JSON.
const STARTS: [&str; 2] = ["listening address=", r#""listening","address":""#];
/// The longest that a request may take.
const ANSWERED: Duration = Duration::from_secs(10);

/// Something that a server logs to.
pub struct Log {
    write: OwnedFd,
    read: File,
    is_terminal: bool,
}

impl Log {
    pub fn pipe() -> Self {
        let (read, write) = io::pipe().expect("a pipe");
        Self::of(OwnedFd::from(read), OwnedFd::from(write))
    }

    /// A pipe that accepts no more bytes.
    pub fn full_pipe() -> Self {
        let log = Self::pipe();
        let room = rustix::pipe::fcntl_getpipe_size(&log.write).expect("a size");
        File::from(log.write.try_clone().expect("a descriptor"))
            .write_all(&vec![b'\n'; room])
            .expect("exactly as many bytes as fit");
        log
    }

    /// As with journald.
    pub fn socket() -> Self {
        let (read, write) = UnixStream::pair().expect("two sockets");
        Self::of(OwnedFd::from(read), OwnedFd::from(write))
    }

    /// `O_NONBLOCK` is set by another process that shares it.
    pub fn non_blocking_socket() -> Self {
        let (read, write) = UnixStream::pair().expect("two sockets");
        write.set_nonblocking(true).expect("it can be set");
        Self::of(OwnedFd::from(read), OwnedFd::from(write))
    }

    pub fn terminal() -> Self {
        use rustix::{fs::OFlags, pty};
        let read = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).expect("a pty");
        pty::grantpt(&read).expect("it can be granted");
        pty::unlockpt(&read).expect("it can be unlocked");
        let name = pty::ptsname(&read, Vec::new()).expect("it has a name");
        let name = name.into_string().expect("UTF-8");
        let write = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(name)
            .expect("its other end");
        Self {
            is_terminal: true,
            ..Self::of(read, OwnedFd::from(write))
        }
    }

    fn of(read: OwnedFd, write: OwnedFd) -> Self {
        Self {
            write,
            read: File::from(read),
            is_terminal: false,
        }
    }

    pub fn end(&self) -> Stdio {
        Stdio::from(self.write.try_clone().expect("a descriptor"))
    }
}

/// A server whose log the test reads, or does not read.
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
    log: File,
    is_terminal: bool,
    _directory: TempDir,
}

impl Server {
    /// Reads the log up to the line with the address, and nothing behind it.
    pub async fn start(builder: &Builder, log: Log) -> Self {
        let (child, directory) = spawn(builder, log.end(), log.end());
        let Log {
            read, is_terminal, ..
        } = log;
        let (address, log) = within(PATIENCE, "the address", spawn_blocking(|| address_in(read)))
            .await
            .expect("it listens");
        Self {
            child,
            address,
            log,
            is_terminal,
            _directory: directory,
        }
    }

    /// Sends Ctrl-S to a terminal; anything else is just not read.
    pub fn stop_reading(&mut self) {
        if self.is_terminal {
            self.log.write_all(b"\x13").expect("the terminal listens");
        }
    }

    /// Reads the rest of the log until the server has ended.
    pub fn read_on(&self) -> JoinHandle<String> {
        let mut log = self.log.try_clone().expect("a descriptor");
        spawn_blocking(move || {
            let mut bytes = Vec::new();
            // Reading from a terminal whose other end is closed fails.
            log.read_to_end(&mut bytes).ok();
            String::from_utf8(bytes).expect("a log in UTF-8")
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn dropped(&self) -> u64 {
        dropped(&self.url()).await
    }

    /// Makes the server log until it drops lines. Every request gets a response.
    pub async fn overflow(&self) {
        let client = http::client();
        within(3 * PATIENCE, "a line that is dropped", async {
            while self.dropped().await == 0 {
                let asked = (0..50).map(|_| make_log(&client, self.url()));
                futures_util::future::join_all(asked).await;
            }
        })
        .await;
    }
}

pub fn terminate(child: &Child) {
    process::signal(child.id().expect("it runs"), "TERM");
}

pub async fn ended(child: &mut Child) -> Option<i32> {
    let status = within(PATIENCE, "the end of the process", child.wait()).await;
    status.expect("it can be waited for").code()
}

pub fn spawn(builder: &Builder, stdout: Stdio, stderr: Stdio) -> (Child, TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = builder.command(&directory);
    command.stdout(stdout).stderr(stderr);
    let child = Command::from(command).kill_on_drop(true).spawn();
    (child.expect("the built binary starts"), directory)
}

fn address_in(mut log: File) -> (SocketAddr, File) {
    let mut text = String::new();
    let mut byte = [0];
    loop {
        log.read_exact(&mut byte).expect("the server starts");
        text.push(char::from(byte[0]));
        let found = STARTS.iter().find_map(|start| text.split_once(start));
        let line = found.filter(|(_, rest)| rest.ends_with('\n'));
        let address = line.and_then(|(_, rest)| rest.split_once([' ', '"']));
        if let Some((address, _)) = address {
            let address: SocketAddr = address.parse().expect("an address");
            return (([127, 0, 0, 1], address.port()).into(), log);
        }
    }
}

/// Sends a request that is logged with a long line.
pub async fn make_log(client: &reqwest::Client, url: String) {
    let route = format!("{url}/internal/{}", "x".repeat(8_000));
    let request = client.get(route).bearer_auth(INTERNAL_SECRET).send();
    let answer = within(ANSWERED, "an answer", request).await;
    assert_eq!(answer.expect("the server answers").status(), 404);
}

pub async fn dropped(url: &str) -> u64 {
    let request = http::client().get(format!("{url}/metrics"));
    let answer = request.bearer_auth(INTERNAL_SECRET).send();
    let answer = within(ANSWERED, "metrics", answer).await;
    let text = answer.expect("the server answers").text().await;
    let text = text.expect("a body");
    let figure = text
        .lines()
        .find_map(|line| line.strip_prefix("sockd_log_lines_dropped_total "));
    figure
        .and_then(|figure| figure.parse().ok())
        .unwrap_or_else(|| panic!("{text}"))
}

pub async fn lives(address: SocketAddr) {
    let url = format!("http://{address}/healthz");
    let answer = within(ANSWERED, "an answer", http::get(&url)).await;
    assert_eq!(answer.status(), 200);
}

pub async fn goes_on(address: SocketAddr) {
    lives(address).await;
    let (user, session) = (jwt::user(), jwt::session());
    let join = WebSocket::join(address, &user, &session);
    within(ANSWERED, "a handshake", join).await;
}

pub async fn listens(address: SocketAddr) {
    eventually(PATIENCE, "an open port", || async move {
        tokio::net::TcpStream::connect(address).await.is_ok()
    })
    .await;
}

pub async fn is_closed(address: SocketAddr) {
    eventually(PATIENCE, "a closed port", || async move {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
}
