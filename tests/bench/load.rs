//! Clients and callers that give a server its work.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use crate::server::{Login, Server};

/// How many connect, or call, at once.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(120);

/// Connected clients, one a user.
pub(crate) struct Load {
    users: Vec<String>,
    clients: Vec<JoinHandle<()>>,
    received: Arc<Received>,
    http: reqwest::Client,
}

/// How many events have come, to all clients together.
#[derive(Default)]
struct Received {
    count: AtomicUsize,
    more: Notify,
}

impl Received {
    async fn reach(&self, count: usize) -> anyhow::Result<()> {
        let reached = async {
            loop {
                let more = self.more.notified();
                if self.count.load(Ordering::Acquire) >= count {
                    return;
                }
                more.await;
            }
        };
        timeout(PATIENCE, reached)
            .await
            .with_context(|| format!("of {count} events {:?} came", self.count))
    }
}

impl Load {
    pub(crate) async fn connect(server: &Server, count: usize) -> anyhow::Result<Self> {
        let logins = Server::logins(count)?;
        ensure!(logins.len() == count, "not all tokens were made");
        let received = Arc::new(Received::default());
        let users = logins.iter().map(|login| login.user_id.clone()).collect();
        let clients = stream::iter(logins)
            .map(|login| join(server, login, received.clone()))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
            .context("a client cannot join; does the limit of open files (ulimit -n) fit?")?;
        Ok(Self {
            users,
            clients,
            received,
            http: reqwest::Client::builder().no_proxy().build()?,
        })
    }

    /// Pushes so many events, over all users in turn, and waits until all have come.
    pub(crate) async fn push(&self, server: &Server, count: usize) -> anyhow::Result<()> {
        let before = self.received.count.load(Ordering::Acquire);
        stream::iter(0..count)
            .map(|number| self.emit(server, number))
            .buffer_unordered(AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        self.received.reach(before + count).await
    }

    /// Pushes events one by one, and answers how long each took to come.
    pub(crate) async fn push_alone(
        &mut self,
        server: &Server,
        count: usize,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(count);
        for number in 0..count {
            let (before, begun) = (self.received.count.load(Ordering::Acquire), Instant::now());
            let (emitted, came) =
                tokio::join!(self.emit(server, number), self.received.reach(before + 1));
            emitted?;
            came?;
            times.push(begun.elapsed());
        }
        Ok(times)
    }

    async fn emit(&self, server: &Server, number: usize) -> anyhow::Result<()> {
        let user = &self.users[number % self.users.len()];
        let payload = json!({ "number": number, "name": "Ada Lovelace", "roles": ["reader"] });
        let answer = self
            .http
            .post(format!("http://{}/internal/emit", server.address))
            .bearer_auth(Server::INTERNAL_SECRET)
            .json(&json!({ "userId": user, "event": "profile:update", "payload": payload }))
            .send()
            .await?;
        ensure!(
            answer.status() == 200,
            "an emit was answered {}",
            answer.status()
        );
        answer.bytes().await?;
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.clients.iter().for_each(JoinHandle::abort);
    }
}

/// Joins with the token, and then counts events and answers pings for as long as it is let.
async fn join(
    server: &Server,
    login: Login,
    received: Arc<Received>,
) -> anyhow::Result<JoinHandle<()>> {
    let stream = TcpStream::connect(server.address).await?;
    stream.set_nodelay(true)?;
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket",
        server.address
    );
    let config = WebSocketConfig::default().read_buffer_size(1_024);
    let (mut socket, _) = client_async_with_config(url, stream, Some(config)).await?;
    let connect = json!({ "token": login.token });
    socket.send(Message::text(format!("40{connect}"))).await?;
    let (joined, mut answer) = mpsc::channel(1);
    let client = tokio::spawn(live(socket, joined, received));
    match answer.recv().await.as_deref() {
        Some(packet) if packet.starts_with("40") => Ok(client),
        other => bail!("a client was answered {other:?}"),
    }
}

async fn live(
    mut socket: WebSocketStream<TcpStream>,
    joined: mpsc::Sender<String>,
    received: Arc<Received>,
) {
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(packet) = message else {
            continue;
        };
        if packet == "2" {
            socket.send(Message::text("3")).await.ok();
        } else if packet.starts_with("42") {
            received.count.fetch_add(1, Ordering::AcqRel);
            received.more.notify_waiters();
        } else if packet.starts_with("4") {
            joined.try_send(packet.to_string()).ok();
        }
    }
}
