//! HTTP as callers speak it, and as only the hostile do.

use std::{net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_util::either::Either;

use super::{PATIENCE, within};

/// A client that uses no proxy and has a long timeout.
pub fn client() -> reqwest::Client {
    builder().build().expect("a client")
}

/// A client for a server on a unix socket.
pub fn client_of(socket: &str) -> reqwest::Client {
    builder().unix_socket(socket).build().expect("a client")
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        // All is plain HTTP, and reading the system's certificates takes longer than the test.
        .tls_certs_only([])
        .timeout(Duration::from_secs(60))
}

pub async fn get(url: &str) -> reqwest::Response {
    client().get(url).send().await.expect("the server answers")
}

/// A connection on which bytes are sent as they are.
pub struct RawConnection {
    stream: Either<TcpStream, UnixStream>,
}

impl RawConnection {
    pub async fn open(address: SocketAddr) -> Self {
        Self {
            stream: Either::Left(
                TcpStream::connect(address)
                    .await
                    .expect("the server accepts"),
            ),
        }
    }

    /// To where a command finds internal routes: `http://127.0.0.1:3001` or `unix:/path`.
    pub async fn open_at(url: &str) -> Self {
        if let Some(address) = url.strip_prefix("http://") {
            return Self::open(address.parse().expect("an address")).await;
        }
        let path = url.strip_prefix("unix:").expect("a path");
        let stream = UnixStream::connect(path).await;
        Self {
            stream: Either::Right(stream.expect("the server accepts")),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .await
            .expect("the server reads");
    }

    /// Sends what may no longer be read.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Half-closes the connection: nothing more will be sent, but responses can still be read.
    pub async fn half_close(&mut self) {
        self.stream
            .shutdown()
            .await
            .expect("the connection is open");
    }

    /// Ends the connection as a process that is killed, or a firewall, may do it.
    pub fn reset(self) {
        let socket = match &self.stream {
            Either::Left(tcp) => SockRef::from(tcp),
            Either::Right(unix) => SockRef::from(unix),
        };
        socket
            .set_linger(Some(Duration::ZERO))
            .expect("an option of the connection");
    }

    /// Reads on until these bytes have come.
    pub async fn expect(&mut self, wanted: &[u8]) {
        within(PATIENCE, "the bytes", async {
            let mut bytes = Vec::new();
            while !bytes.ends_with(wanted) {
                let byte = self.stream.read_u8().await;
                bytes.push(byte.expect("the connection is open"));
            }
        })
        .await;
    }

    /// Reads on until these bytes are among what has come, in large pieces.
    pub async fn read_past(&mut self, wanted: &[u8]) {
        within(PATIENCE, "the bytes", async {
            let mut bytes = Vec::with_capacity(1 << 20);
            while !bytes.windows(wanted.len()).any(|found| found == wanted) {
                // They may have come in part.
                let kept = bytes.len().min(wanted.len());
                bytes.drain(..bytes.len() - kept);
                let read = self.stream.read_buf(&mut bytes).await;
                assert!(read.is_ok_and(|count| count > 0), "the connection is open");
            }
        })
        .await;
    }

    /// Everything until the server hangs up.
    pub async fn read_to_end(&mut self, limit: Duration) -> String {
        let mut bytes = Vec::new();
        // A reset is an end as well.
        within(
            limit,
            "the end of the connection",
            self.stream.read_to_end(&mut bytes),
        )
        .await
        .ok();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// One response: its head, and a body of the announced length.
    pub async fn read_answer(&mut self) -> String {
        within(PATIENCE, "an answer", async {
            let mut bytes = Vec::new();
            loop {
                let mut byte = [0];
                if self
                    .stream
                    .read(&mut byte)
                    .await
                    .expect("the server answers")
                    == 0
                {
                    break;
                }
                bytes.push(byte[0]);
                if bytes.ends_with(b"\r\n\r\n") {
                    break;
                }
            }
            let head = String::from_utf8_lossy(&bytes).into_owned();
            let lower = head.to_ascii_lowercase();
            let length = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"));
            let length = length
                .and_then(|length| length.trim().parse().ok())
                .unwrap_or(0);
            let mut body = vec![0; length];
            self.stream
                .read_exact(&mut body)
                .await
                .expect("a body of the announced length");
            head + &String::from_utf8_lossy(&body)
        })
        .await
    }
}
