//! Two nodes, their Redis and their users, and the course of one fault.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    ledger::{Hit, Ledger, NODES, Outage},
    load::{self, Sender},
    population::{BUSY, IDLE, User, seats},
    promises,
};
use crate::support::{
    PATIENCE, eventually,
    proxy::{Proxy, Weather},
    redis::Redis,
    sockd::Sockd,
};

/// Both nodes are hit.
pub const BOTH: [usize; 2] = NODES;
/// How many events are emitted before the fault, and after it.
const SOME_EVENTS: usize = 60;
/// The user that the scene itself emits to.
const PROBED: usize = BUSY + IDLE - 1;

pub struct Scene {
    pub redis: Redis,
    pub proxies: [Proxy; 2],
    pub nodes: [Sockd; 2],
    shared: Arc<Shared>,
    /// All tasks, ended with the scene.
    tasks: JoinSet<()>,
}

/// What the tasks need.
pub struct Shared {
    pub users: Vec<User>,
    pub ledger: Ledger,
    pub client: reqwest::Client,
    addresses: Mutex<[SocketAddr; 2]>,
    redis_port: AtomicU16,
    /// Whether the senders and the replacer are at work.
    on: watch::Sender<bool>,
}

impl Shared {
    pub fn address(&self, node: usize) -> SocketAddr {
        self.addresses.lock().expect("whole")[node]
    }

    pub fn redis_port(&self) -> u16 {
        self.redis_port.load(Ordering::Relaxed)
    }

    pub async fn is_on(&self) {
        let on = self.on.subscribe().wait_for(|on| *on).await.map(|_| ());
        on.expect("the scene outlives its tasks");
    }
}

impl Scene {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments for redis-server; everyone is in, and events flow.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let redis = Redis::start_with(arguments).await;
        let proxies = [Proxy::start(&redis).await, Proxy::start(&redis).await];
        let nodes = [node(&proxies[0]).await, node(&proxies[1]).await];
        for node in &nodes {
            node.is_ready(PATIENCE).await;
        }
        let shared = Arc::new(Shared {
            users: (0..BUSY + IDLE).map(|_| User::new()).collect(),
            ledger: Ledger::default(),
            client: load::client(),
            addresses: Mutex::new([nodes[0].address(), nodes[1].address()]),
            redis_port: AtomicU16::new(redis.port),
            on: watch::Sender::new(true),
        });
        let mut scene = Self {
            redis,
            proxies,
            nodes,
            shared,
            tasks: JoinSet::new(),
        };
        for seat in seats() {
            scene.spawn(move |shared| async move { seat.be_taken(shared).await });
        }
        scene.everyone_is_in().await;
        for node in NODES {
            scene.spawn(move |shared| async move { load::sample_forever(&shared, node).await });
        }
        for sender in Sender::ALL {
            scene.spawn(move |shared| async move { sender.emit_forever(&shared).await });
        }
        scene.spawn(|shared| async move { load::replace_forever(&shared).await });
        scene.spawn(|shared| async move { load::feel_forever(&shared).await });
        scene.some_events().await;
        scene
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        task: impl FnOnce(Arc<Shared>) -> F,
    ) {
        self.tasks.spawn(task(self.shared.clone()));
    }

    /// Stops the senders and the replacer, and waits for what they began.
    pub async fn falls_quiet(&self) {
        self.shared.on.send_replace(false);
        eventually(PATIENCE, "the end of what was begun", || async {
            let book = self.shared.ledger.open();
            let answered = |at: Instant, done: bool| done || at.elapsed() > PATIENCE / 2;
            let events = &book.events;
            let logouts = book.logouts.last();
            events
                .iter()
                .all(|event| answered(event.sent, event.answer.is_some()))
                && logouts.is_none_or(|logout| logout.done.is_some())
        })
        .await;
    }

    pub fn gets_loud(&self) {
        self.shared.on.send_replace(true);
    }

    /// A fault hits these nodes now; the caller makes it happen next.
    pub fn hits(&self, nodes: &[usize], hit: Hit) {
        let outage = |&node| Outage {
            node,
            hit,
            from: Instant::now(),
            healed: None,
            until: None,
        };
        let outages = nodes.iter().map(outage);
        self.shared.ledger.open().outages.extend(outages);
    }

    /// The weather between these nodes and Redis.
    pub fn turns(&self, nodes: &[usize], weather: Weather) {
        for &node in nodes {
            self.proxies[node].turn(weather);
        }
    }

    /// Lets the fault last. The time itself is under test; this does not wait for a condition.
    pub async fn lasts(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// Starts Redis again after it was killed, where the nodes will find it.
    pub async fn redis_returns(&mut self) {
        self.redis_begins_to_return(&[]);
        assert!(self.redis.is_up().await, "Redis did not come back");
    }

    /// Starts Redis again, which may need some time before it responds.
    pub fn redis_begins_to_return(&mut self, arguments: &[&str]) {
        self.redis.begin_restart(arguments);
        self.shared
            .redis_port
            .store(self.redis.port, Ordering::Relaxed);
        for proxy in &self.proxies {
            proxy.lead_to(&self.redis);
        }
    }

    /// Starts a node again after it has ended; clients and callers are told where it is.
    pub async fn node_returns(&mut self, number: usize) {
        self.nodes[number] = node(&self.proxies[number]).await;
        let address = self.nodes[number].address();
        self.shared.addresses.lock().expect("whole")[number] = address;
    }

    /// The cause of the fault is over: waits until every node is ready, and events arrive from every
    /// node on every node.
    pub async fn heals(&self) {
        let healed = Instant::now();
        for outage in &mut self.shared.ledger.open().outages {
            outage.healed.get_or_insert(healed);
        }
        eventually(3 * PATIENCE, "the delivery of events", || async {
            let mut arrived = true;
            for node in NODES {
                arrived &= self.nodes[node].is_ready_now().await && self.probe(node).await;
            }
            arrived
        })
        .await;
        let now = Instant::now();
        for outage in &mut self.shared.ledger.open().outages {
            outage.until.get_or_insert(now);
        }
    }

    /// Whether the machine was too busy at some time.
    pub fn is_strained(&self) -> bool {
        let book = self.shared.ledger.open();
        let first = book.lives.first().map(|life| life.joined);
        first.is_some_and(|first| book.is_strained(first, Instant::now()))
    }

    /// Whether an event through this node arrives on all nodes within a moment.
    async fn probe(&self, node: usize) -> bool {
        let event = Sender::Probe.emit(&self.shared, PROBED, node).await;
        let arrived = || {
            let book = self.shared.ledger.open();
            let lives = book
                .lives
                .iter()
                .filter(|life| life.user == PROBED && life.got.contains(&event));
            NODES.map(|node| lives.clone().any(|life| life.node == node))
        };
        for _ in 0..20 {
            if arrived() == [true; NODES.len()] {
                let status = self.shared.ledger.open().events[event].answer;
                return status.is_some_and(|(_, status)| status == 200);
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Emits some more, and checks the ledger; `fault` names the row of figures.
    pub async fn ends(self, fault: &str) {
        self.gets_loud();
        self.some_events().await;
        self.falls_quiet().await;
        self.everyone_is_in().await;
        for user in 0..self.shared.users.len() {
            for node in NODES {
                Sender::Probe.emit(&self.shared, user, node).await;
            }
        }
        // An event that is really lost is reported below.
        let deadline = Instant::now() + PATIENCE;
        while promises::lost(&self.shared.ledger.open()) > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        let problems = {
            let book = self.shared.ledger.open();
            promises::print(&book, fault);
            promises::problems(&book)
        };
        assert!(problems.is_empty(), "{fault}:\n{}", problems.join("\n"));
    }

    /// Waits until every seat is taken by a socket of its user's last session.
    pub async fn everyone_is_in(&self) {
        let seats = seats().len();
        eventually(2 * PATIENCE, "everyone's socket", || async {
            let book = self.shared.ledger.open();
            let here = book.lives.iter().filter(|life| life.left.is_none());
            let fresh = here.clone().filter(|life| book.doomed(life).is_none());
            here.count() == seats && fresh.count() == seats
        })
        .await;
    }

    async fn some_events(&self) {
        let before = self.answered();
        eventually(2 * PATIENCE, "answers to emits", || async {
            self.answered() >= before + SOME_EVENTS
        })
        .await;
    }

    fn answered(&self) -> usize {
        let book = self.shared.ledger.open();
        let answers = book.events.iter().filter_map(|event| event.answer);
        answers.filter(|(_, status)| *status == 200).count()
    }
}

async fn node(proxy: &Proxy) -> Sockd {
    let builder = Sockd::builder().env("REDIS_HOST", "127.0.0.1");
    let port = proxy.port().to_string();
    builder.env("REDIS_PORT", port).start().await
}
