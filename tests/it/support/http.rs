//! HTTP as callers speak it, and as only the hostile do.

use std::{net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{PATIENCE, within};

/// A client without proxies and with patience.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        // All is plain HTTP, and reading the system's certificates takes longer than the test.
        .tls_certs_only([])
        .timeout(Duration::from_secs(60))
        .build()
        .expect("a client")
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

    /// Says that nothing more will be sent; answers can still be read.
    pub async fn half_close(&mut self) {
        self.stream
            .shutdown()
            .await
            .expect("the connection is open");
    }

    /// Ends the connection as a process that is killed, or a firewall, may do it.
    pub fn reset(self) {
        SockRef::from(&self.stream)
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
