//! HTTP as callers speak it, and as only the hostile do.

use std::{net::SocketAddr, sync::LazyLock, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{PATIENCE, within};

/// A client without proxies and with patience. It is one for all, as making one takes long, and
/// keeps no connections, as each test's go with its runtime.
pub fn client() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        let builder = reqwest::Client::builder().no_proxy();
        let builder = builder.timeout(Duration::from_secs(60));
        builder.pool_max_idle_per_host(0).build().expect("a client")
    });
    CLIENT.clone()
}

pub async fn get(url: &str) -> reqwest::Response {
    client().get(url).send().await.expect("the server answers")
}

/// A connection on which bytes are sent as they are.
pub struct RawConnection {
    stream: TcpStream,
}

impl RawConnection {
    pub async fn open(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address)
                .await
                .expect("the server accepts"),
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

    /// One answer: its head, and a body of the announced length.
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
