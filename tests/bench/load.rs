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
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::{client::TlsStream, rustls::pki_types::ServerName};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use tokio_util::either::Either;

use crate::server::{Login, Server};

/// The number of concurrent connects or calls, unless all run at once.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(120);
/// The pace of [`Load::push_paced`]: so many events every millisecond.
const EVENTS_PER_MILLISECOND: usize = 2;

/// Connected clients, and the callers that push events to them.
pub(crate) struct Load {
    logins: Vec<Login>,
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
    /// So many users with one client each.
    pub(crate) async fn connect(server: &Server, count: usize) -> anyhow::Result<Self> {
        Self::join(server, Server::logins(count)?, AT_ONCE).await
    }

    /// One user with so many clients.
    pub(crate) async fn connect_crowd(server: &Server, count: usize) -> anyhow::Result<Self> {
        let login = Server::logins(1)?.swap_remove(0);
        Self::join(server, vec![login; count], AT_ONCE).await
    }

    /// Cuts all connections; the first `count` clients come back at once. Returns how long it took
    /// until they were.
    pub(crate) async fn reconnect(
        self,
        server: &Server,
        count: usize,
    ) -> anyhow::Result<(Self, Duration)> {
        let logins = self.logins[..count.min(self.logins.len())].to_vec();
        drop(self);
        let begun = Instant::now();
        let load = Self::join(server, logins, count).await?;
        Ok((load, begun.elapsed()))
    }

    async fn join(server: &Server, logins: Vec<Login>, at_once: usize) -> anyhow::Result<Self> {
        let received = Arc::new(Received::default());
        // In the order of the logins.
        let clients = stream::iter(&logins)
            .map(|login| join(server, login, received.clone()))
            .buffered(at_once)
            .try_collect()
            .await
            .context("a client cannot join; does the limit of open files (ulimit -n) fit?")?;
        Ok(Self {
            logins,
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

    /// Pushes so many events at a steady pace that leaves the server mostly idle, and waits until all
    /// have come.
    pub(crate) async fn push_paced(&self, server: &Server, count: usize) -> anyhow::Result<()> {
        let before = self.received.count.load(Ordering::Acquire);
        let mut pace = interval(Duration::from_millis(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let steps = stream::unfold(pace, |mut pace| async {
            pace.tick().await;
            Some((stream::iter([(); EVENTS_PER_MILLISECOND]), pace))
        });
        steps
            .flatten()
            .take(count)
            .enumerate()
            .map(|(number, ())| self.emit(server, number))
            .buffer_unordered(AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        self.received.reach(before + count).await
    }

    /// Pushes so many events to the one user of a crowd, and waits until all have come to all.
    pub(crate) async fn push_to_crowd(&self, server: &Server, count: usize) -> anyhow::Result<()> {
        let before = self.received.count.load(Ordering::Acquire);
        for number in 0..count {
            self.emit(server, number).await?;
        }
        self.received
            .reach(before + count * self.clients.len())
            .await
    }

    /// Logs so many users out, one by one, and returns how long each client took to be closed.
    pub(crate) async fn log_out(
        &mut self,
        server: &Server,
        count: usize,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(count);
        // Their tokens are of no use afterwards.
        let logins: Vec<_> = self.logins.drain(..count).collect();
        let clients: Vec<_> = self.clients.drain(..count).collect();
        for (login, client) in logins.into_iter().zip(clients) {
            let session = uuid::Uuid::new_v4().to_string();
            let body = json!({ "userId": login.user_id, "sessionId": session });
            let begun = Instant::now();
            self.call(server, "force-logout", &body).await?;
            let closed = timeout(PATIENCE, client).await;
            closed.context("a client that was logged out stays connected")??;
            times.push(begun.elapsed());
        }
        Ok(times)
    }

    /// Pushes events one by one, and returns how long each took to come.
    pub(crate) async fn push_alone(
        &self,
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
        let user = &self.logins[number % self.logins.len()].user_id;
        let payload = json!({ "number": number, "name": "Ada Lovelace", "roles": ["reader"] });
        let body = json!({ "userId": user, "event": "profile:update", "payload": payload });
        self.call(server, "emit", &body).await
    }

    async fn call(&self, server: &Server, route: &str, body: &Value) -> anyhow::Result<()> {
        let answer = self
            .http
            .post(format!("http://{}/internal/{route}", server.internal))
            .bearer_auth(Server::INTERNAL_SECRET)
            .json(body)
            .send()
            .await?;
        let status = answer.status();
        ensure!(status == 200, "{route} was answered {status}");
        answer.bytes().await?;
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.clients.iter().for_each(JoinHandle::abort);
    }
}

/// Joins with the token, and then counts events and answers pings until the connection ends.
async fn join(
    server: &Server,
    login: &Login,
    received: Arc<Received>,
) -> anyhow::Result<JoinHandle<()>> {
    let stream = TcpStream::connect(server.address).await?;
    stream.set_nodelay(true)?;
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket",
        server.address
    );
    let stream = match &server.tls {
        Some(connector) => {
            let name = ServerName::try_from("localhost")?;
            Either::Right(Box::new(connector.connect(name, stream).await?))
        }
        None => Either::Left(stream),
    };
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
    mut socket: WebSocketStream<Either<TcpStream, Box<TlsStream<TcpStream>>>>,
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
