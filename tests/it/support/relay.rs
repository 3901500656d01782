//! A TCP link to a server that a test can cut without a word.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Passes bytes on until it is stalled; then connections stay, and nothing arrives any more.
pub struct Relay {
    pub port: u16,
    stalled: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// A link to a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let (stalled, watched) = watch::channel(false);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(target).await {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::spawn(pass(from_client, to_server, watched.clone()));
                    tokio::spawn(pass(from_server, to_client, watched.clone()));
                }
            }
        });
        Self {
            port: address.port(),
            stalled,
            accepting,
        }
    }

    /// Nothing passes from now on, on present connections and new ones.
    pub fn stall(&self) {
        self.stalled.send_replace(true);
    }

    /// What was held back passes, and what comes.
    pub fn resume(&self) {
        self.stalled.send_replace(false);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut stalled: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if stalled.wait_for(|stalled| !stalled).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}
