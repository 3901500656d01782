//! The network between the nodes and Redis: streams whose bytes take time, wait, or get lost.
//!
//! One queue holds everything that is under way, so one task moves the whole network on.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use sockd::redis::dialer::{Dial, Dialing, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use super::{
    redis::{Command, ConnectionId, Deed, Redis, take_commands},
    story::Story,
};

/// Redis answers, but with a refusal.
pub(super) const REFUSAL: &str = "redis for writers";

/// All links to one Redis.
pub(super) struct Network {
    inner: Mutex<Inner>,
    changed: Notify,
}

pub(super) struct Inner {
    pub(super) redis: Redis,
    story: Story,
    rng: fastrand::Rng,
    /// How many milliseconds a packet takes at most.
    latency: u64,
    connections: Vec<Connection>,
    under_way: BTreeMap<(Instant, u64), (ConnectionId, Packet)>,
    last_packet: u64,
    /// Commands that wait for a Redis that is frozen.
    waiting: VecDeque<(ConnectionId, Command)>,
    frozen: bool,
    /// Redis does not run.
    down: bool,
    /// By node: nothing passes before then.
    stalled: BTreeMap<usize, Instant>,
}

struct Connection {
    node: usize,
    is_subscriber: bool,
    unread: Vec<u8>,
    received: VecDeque<u8>,
    reader: Option<Waker>,
    /// To Redis, and from it.
    ways: [Way; 2],
    end: Option<End>,
}

#[derive(Default)]
struct Way {
    /// When the last packet arrives: none overtakes another.
    last: Option<Instant>,
    stalled: Option<Instant>,
    slow: u64,
    is_lost: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Redis or the network has reset it.
    Reset,
    /// The node has closed it.
    Closed,
}

enum Packet {
    Command(Command),
    Bytes(Vec<u8>),
    Close,
}

/// Which of a node's connections a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Commands,
    Subscriber,
    Both,
}

/// In which directions it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToRedis,
    FromRedis,
    Both,
}

impl Network {
    pub(super) fn new(story: Story, mut rng: fastrand::Rng) -> Arc<Self> {
        let latency = rng.choice([1, 4, 15]).unwrap_or(1);
        Arc::new(Self {
            inner: Mutex::new(Inner {
                redis: Redis::default(),
                story,
                rng,
                latency,
                connections: Vec::new(),
                under_way: BTreeMap::new(),
                last_packet: 0,
                waiting: VecDeque::new(),
                frozen: false,
                down: false,
                stalled: BTreeMap::new(),
            }),
            changed: Notify::new(),
        })
    }

    /// The way of one node to Redis.
    pub(super) fn of_node(self: &Arc<Self>, node: usize) -> Arc<dyn Dial> {
        Arc::new(NodeNetwork {
            network: self.clone(),
            node,
        })
    }

    /// Moves packets until dropped.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let next = self.inner().arrive(Instant::now());
            let changed = self.changed.notified();
            match next {
                Some(next) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(next) => {}
                },
                None => changed.await,
            }
        }
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resets connections of a node.
    pub(super) fn cut(&self, node: usize, which: Which) {
        let mut inner = self.inner();
        for id in inner.of(node, which) {
            inner.reset(id);
        }
        self.changed.notify_one();
    }

    /// Loses everything on these connections from now on, without a word to either side.
    pub(super) fn lose(&self, node: usize, which: Which, direction: Direction) {
        let mut inner = self.inner();
        for id in inner.of(node, which) {
            for way in inner.ways(id, direction) {
                way.is_lost = true;
            }
        }
    }

    /// Holds everything on these connections up for a while.
    pub(super) fn stall(&self, node: usize, which: Which, direction: Direction, time: Duration) {
        let until = Instant::now() + time;
        let mut inner = self.inner();
        for id in inner.of(node, which) {
            for way in inner.ways(id, direction) {
                way.stalled = Some(until);
            }
        }
        if which == Which::Both {
            inner.stalled.insert(node, until);
        }
    }

    /// Makes these connections slow for the rest of their lives.
    pub(super) fn slow(&self, node: usize, which: Which, direction: Direction, time: Duration) {
        let mut inner = self.inner();
        for id in inner.of(node, which) {
            for way in inner.ways(id, direction) {
                way.slow = time.as_millis() as u64;
            }
        }
    }

    pub(super) fn freeze(&self, frozen: bool) {
        let mut inner = self.inner();
        inner.frozen = frozen;
        if !frozen {
            for (id, command) in std::mem::take(&mut inner.waiting) {
                inner.serve(id, &command, Instant::now());
            }
        }
        self.changed.notify_one();
    }

    /// Ends the process of Redis, and with it all connections.
    pub(super) fn stop(&self) {
        let mut inner = self.inner();
        inner.down = true;
        inner.frozen = false;
        inner.waiting.clear();
        for id in 0..inner.connections.len() {
            inner.reset(id);
        }
        self.changed.notify_one();
    }

    /// Starts it again.
    pub(super) fn start(&self) {
        self.inner().down = false;
    }

    /// All links are as good as they were, but for those that are dead: the nodes have to see that.
    pub(super) fn heal(&self) {
        for connection in &mut self.inner().connections {
            for way in &mut connection.ways {
                way.slow = 0;
            }
        }
    }

    /// Why the node cannot do its work over its links, whatever it does.
    pub(super) fn deaths(&self, node: usize) -> Vec<&'static str> {
        let inner = self.inner();
        let mut deaths = Vec::new();
        let Redis {
            is_full,
            is_replica,
            is_mute,
            ..
        } = inner.redis;
        if inner.frozen || inner.down {
            deaths.push("redis");
        }
        if is_full || is_replica || is_mute {
            deaths.push(REFUSAL);
        }
        let is_stalled = |at: &Instant| *at > Instant::now();
        for (which, name) in [
            (Which::Commands, "its command link"),
            (Which::Subscriber, "its subscriber link"),
        ] {
            let open = inner.of(node, which);
            let mut ways = open.iter().flat_map(|id| &inner.connections[*id].ways);
            let is_dead = |way: &Way| way.is_lost || way.stalled.as_ref().is_some_and(is_stalled);
            if inner.stalled.get(&node).is_some_and(is_stalled) || ways.any(is_dead) {
                deaths.push(name);
            }
        }
        deaths
    }

    /// Whether its links are slow, or being opened again.
    pub(super) fn is_impaired(&self, node: usize) -> bool {
        let inner = self.inner();
        let open = inner.of(node, Which::Both);
        let mut ways = open.iter().flat_map(|id| &inner.connections[*id].ways);
        inner.of(node, Which::Commands).is_empty() || ways.any(|way| way.slow > 100)
    }

    /// The channels of users that the node's connections still hear.
    pub(super) fn user_channels(&self, node: usize) -> Vec<String> {
        let inner = self.inner();
        let open = inner.of(node, Which::Both);
        let channels = open.iter().flat_map(|id| inner.redis.channels_of(*id));
        channels.filter(|name| name.contains("user:")).collect()
    }
}

impl Inner {
    fn of(&self, node: usize, which: Which) -> Vec<ConnectionId> {
        let hits = |connection: &Connection| {
            connection.node == node
                && connection.end.is_none()
                && match which {
                    Which::Commands => !connection.is_subscriber,
                    Which::Subscriber => connection.is_subscriber,
                    Which::Both => true,
                }
        };
        let connections = self.connections.iter().enumerate();
        let hit = connections.filter(|(_, connection)| hits(connection));
        hit.map(|(id, _)| id).collect()
    }

    fn ways(&mut self, id: ConnectionId, direction: Direction) -> &mut [Way] {
        let ways = &mut self.connections[id].ways;
        match direction {
            Direction::ToRedis => &mut ways[..1],
            Direction::FromRedis => &mut ways[1..],
            Direction::Both => ways,
        }
    }

    fn reset(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id];
        if connection.end.is_some() {
            return;
        }
        connection.end = Some(End::Reset);
        if let Some(reader) = connection.reader.take() {
            reader.wake();
        }
        // What was under way to Redis may have arrived or not.
        connection.ways[0].is_lost = self.rng.bool();
        self.redis.forget(id);
    }

    fn send(&mut self, id: ConnectionId, to_redis: bool, packet: Packet) {
        let now = Instant::now();
        let way = &mut self.connections[id].ways[usize::from(!to_redis)];
        let takes = self.rng.u64(0..=self.latency) + way.slow;
        let mut at = now + Duration::from_millis(takes);
        at = at
            .max(way.last.unwrap_or(at))
            .max(way.stalled.unwrap_or(at));
        way.last = Some(at);
        self.last_packet += 1;
        self.under_way.insert((at, self.last_packet), (id, packet));
    }

    /// Lets arrive what is due; returns when the next is.
    fn arrive(&mut self, now: Instant) -> Option<Instant> {
        loop {
            let entry = self.under_way.first_entry()?;
            if entry.key().0 > now {
                return Some(entry.key().0);
            }
            let (id, packet) = entry.remove();
            match packet {
                Packet::Command(command) => {
                    if self.connections[id].ways[0].is_lost || self.down {
                    } else if self.frozen {
                        self.waiting.push_back((id, command));
                    } else {
                        self.serve(id, &command, now);
                    }
                }
                Packet::Bytes(bytes) => {
                    let connection = &mut self.connections[id];
                    if connection.ways[1].is_lost || connection.end.is_some() {
                        continue;
                    }
                    connection.received.extend(bytes);
                    if let Some(reader) = connection.reader.take() {
                        reader.wake();
                    }
                }
                Packet::Close => {
                    // A Redis behind a dead link keeps the subscriptions.
                    if !self.connections[id].ways[0].is_lost {
                        self.redis.forget(id);
                    }
                }
            }
        }
    }

    fn serve(&mut self, id: ConnectionId, command: &Command, now: Instant) {
        if command.first().is_some_and(|name| name == b"SUBSCRIBE") {
            self.connections[id].is_subscriber = true;
        }
        let reply = self.redis.run(id, command, now);
        for deed in std::mem::take(&mut self.redis.deeds) {
            self.tell(deed);
        }
        for (to, bytes) in std::mem::take(&mut self.redis.pushes) {
            self.send(to, false, Packet::Bytes(bytes));
        }
        if let Some(reply) = reply {
            let mut bytes = Vec::new();
            reply.encode(&mut bytes);
            self.send(id, false, Packet::Bytes(bytes));
        }
    }

    fn tell(&mut self, deed: Deed) {
        match deed {
            Deed::Stored(key, value) => self.story.stored(&key, &value),
            Deed::Published(channel, message) => self.story.published(&channel, &message),
        }
    }
}

struct NodeNetwork {
    network: Arc<Network>,
    node: usize,
}

impl Dial for NodeNetwork {
    fn dial(&self, _: &str) -> Dialing {
        let (network, node) = (self.network.clone(), self.node);
        Box::pin(async move {
            let takes = {
                let mut inner = network.inner();
                let latency = inner.latency;
                inner.rng.u64(0..=latency)
            };
            sleep(Duration::from_millis(takes)).await;
            let stalled = network.inner().stalled.get(&node).copied();
            if let Some(until) = stalled {
                sleep_until(until).await;
            }
            let mut inner = network.inner();
            if inner.down {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let id = inner.connections.len();
            inner.connections.push(Connection {
                node,
                is_subscriber: false,
                unread: Vec::new(),
                received: VecDeque::new(),
                reader: None,
                ways: Default::default(),
                end: None,
            });
            drop(inner);
            Ok(Box::new(NodeEnd { network, id }) as Box<dyn Stream>)
        })
    }

    fn jitter(&self) -> f64 {
        self.network.inner().rng.f64()
    }
}

impl fmt::Debug for NodeNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the network of node {}", self.node)
    }
}

/// The node's end of a connection.
struct NodeEnd {
    network: Arc<Network>,
    id: ConnectionId,
}

impl NodeEnd {
    fn close(&self) {
        let mut inner = self.network.inner();
        if inner.connections[self.id].end.is_none() {
            inner.connections[self.id].end = Some(End::Closed);
            inner.send(self.id, true, Packet::Close);
            self.network.changed.notify_one();
        }
    }
}

impl Drop for NodeEnd {
    fn drop(&mut self) {
        self.close();
    }
}

impl AsyncRead for NodeEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.network.inner();
        let connection = &mut inner.connections[self.id];
        if connection.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if connection.received.is_empty() {
            connection.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let length = connection.received.len().min(buffer.remaining());
        let bytes: Vec<u8> = connection.received.drain(..length).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for NodeEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.network.inner();
        let connection = &mut inner.connections[self.id];
        if connection.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        connection.unread.extend_from_slice(bytes);
        let commands = take_commands(&mut connection.unread);
        for command in commands {
            inner.send(self.id, true, Packet::Command(command));
        }
        self.network.changed.notify_one();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}
