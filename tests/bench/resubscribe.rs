//! How long a node with very many users is deaf after its subscriber connection was closed: until
//! every user's channel is subscribed again and every session compared with the stored one.
//!
//! `cargo bench --bench resubscribe -- [USERS] [ROUNDS]`, on a redis-server of its own.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use sockd::{
    bus::{Bus, redis::RedisBus},
    config,
    hub::{About, Farewell, Outlet},
    id::{NodeId, SessionId, UserId},
    lifecycle::Lifecycle,
    node::{Admitted, DECISION_LIMIT, Node},
    redis::{Dialer, Link, names::ChannelNames},
    session::{SessionStore, redis::RedisSessions},
    wire::Event,
};
use tokio::time::sleep;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const KEY_PREFIX: &str = "socket:active_session:";
const USERS: usize = 100_000;
const ROUNDS: usize = 5;
/// Handshakes at the same time.
const CROWD: usize = 256;
/// Between two rounds: a connection that lived shorter than 2 s is replaced only after a pause.
const REST: Duration = Duration::from_secs(3);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    // Cargo adds an argument of its own.
    let numbers = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    let users = numbers.first().copied().unwrap_or(USERS);
    let rounds = numbers.get(1).copied().unwrap_or(ROUNDS);

    let redis = Server::start()?;
    let lifecycle = Lifecycle::default();
    let node = start_node(&redis, &lifecycle)?;
    until(|| node.check().is_ok()).await;

    let started = Instant::now();
    let admitted: Vec<Admitted> = stream::iter(0..users)
        .map(|number| admit(&node, number))
        .buffer_unordered(CROWD)
        .collect()
        .await;
    println!(
        "{} users admitted in {:.2?}",
        admitted.len(),
        started.elapsed()
    );

    let mut connection = redis.connect().await?;
    for round in 1..=rounds {
        sleep(REST).await;
        let started = Instant::now();
        let () = redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", "pubsub"])
            .query_async(&mut connection)
            .await?;
        until(|| node.check().is_err()).await;
        until(|| node.check().is_ok()).await;
        println!("round {round}: ready again after {:.2?}", started.elapsed());
    }
    Ok(())
}

fn start_node(redis: &Server, lifecycle: &Lifecycle) -> anyhow::Result<Arc<Node>> {
    let config = config::Redis {
        topology: config::Topology::Standalone { url: redis.url() },
        username: None,
        password: None,
        tls: config::ClientTls::default(),
        channel_prefix: "sockd:".to_owned(),
        connect_timeout: Duration::from_secs(2),
        command_timeout: Duration::from_secs(1),
    };
    let names = ChannelNames::new(&config, "user:", KEY_PREFIX);
    let link = Link::start(config, Dialer::Network, lifecycle);
    let id = NodeId::try_from("bench")?;
    let sessions = RedisSessions::new(link.clone(), KEY_PREFIX.to_owned(), DAY);
    let bus = RedisBus::new(id.clone(), link, names);
    Ok(Node::start(
        id,
        SessionStore::Redis(sessions),
        Bus::Redis(Arc::new(bus)),
        DAY,
        lifecycle,
    ))
}

async fn admit(node: &Node, number: usize) -> Admitted {
    let user = UserId::try_from(format!("{number:024x}")).expect("a user");
    let session = SessionId::try_from(uuid::Uuid::new_v4().to_string()).expect("a session");
    let deadline = tokio::time::Instant::now() + DECISION_LIMIT;
    let admitted = node
        .admit(&user, &session, Arc::new(Nobody), deadline, None)
        .await;
    let admitted = admitted.unwrap_or_else(|refusal| panic!("user {number}: {refusal}"));
    admitted.activate().expect("nobody replaces it");
    admitted
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// A client that is not there.
struct Nobody;

impl Outlet for Nobody {
    fn send(&self, _: &Event) -> bool {
        true
    }

    fn overrun(&self) {
        panic!("nobody should miss an event");
    }

    fn dismiss(&self, farewell: &Farewell) -> bool {
        panic!("nobody should go: {farewell:?}");
    }

    fn about(&self) -> Option<About> {
        None
    }
}

/// A redis-server; killed when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { child, port })
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn connect(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.url())?;
        Ok(client.get_multiplexed_async_connection().await?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
