//! The network between the nodes and Redis: connections whose bytes take time, wait, or get lost.
//!
//! One queue holds everything that is under way, so one task moves the whole network on.

mod health;
mod stream;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use sockd::redis::dialer::Dial;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

pub(super) use self::health::{COMMANDS, OLD_MASTER, ONE_WAY, REFUSAL};
use self::stream::NodeNetwork;
use super::{
    redis::{Command, ConnectionId, Redis},
    story::{By, Story},
};

/// All links to Redis.
pub(super) struct Network {
    inner: Mutex<Inner>,
    changed: Notify,
}

pub(super) struct Inner {
    /// The last is the one that nodes find; the others have been replaced by it, and keep the
    /// connections that lead to them.
    servers: Vec<Redis>,
    story: Story,
    rng: fastrand::Rng,
    /// The most milliseconds that a packet takes.
    pub(super) latency: u64,
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
    /// By node, and whether it is for subscriptions: when a link that worked was last stalled or lost.
    worked: BTreeMap<(usize, bool), Instant>,
}

struct Connection {
    node: usize,
    server: usize,
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
        let latency = rng.choice([1, 4, 15, 40]).unwrap_or(1);
        Arc::new(Self {
            inner: Mutex::new(Inner {
                servers: vec![Redis::default()],
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
                worked: BTreeMap::new(),
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

    /// Moves packets until it is dropped.
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

    /// Loses everything on these connections from now on, and tells neither side.
    pub(super) fn lose(&self, node: usize, which: Which, direction: Direction) {
        let now = Instant::now();
        let mut inner = self.inner();
        for id in inner.of(node, which) {
            inner.note_whether_it_works(node, id, now);
            for way in inner.ways(id, direction) {
                way.is_lost = true;
            }
        }
    }

    /// Holds everything on these connections up for a while.
    pub(super) fn stall(&self, node: usize, which: Which, direction: Direction, time: Duration) {
        let now = Instant::now();
        let until = now + time;
        let mut inner = self.inner();
        for id in inner.of(node, which) {
            inner.note_whether_it_works(node, id, now);
            for way in inner.ways(id, direction) {
                // A stall that ends sooner does not end this one.
                way.stalled = way.stalled.max(Some(until));
            }
        }
        if which == Which::Both {
            let stalled = inner.stalled.entry(node).or_insert(until);
            *stalled = until.max(*stalled);
        }
    }

    /// Until when nothing passes between the node and Redis, if that is so.
    fn stalled_until(&self, node: usize) -> Option<Instant> {
        let until = self.inner().stalled.get(&node).copied();
        until.filter(|until| *until > Instant::now())
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

    /// A replica becomes the master. The old master has died, or does not know yet and goes on.
    pub(super) fn fail_over(&self, lag: Duration) {
        let mut inner = self.inner();
        let successor = inner.redis().successor(lag, Instant::now());
        inner.servers.push(successor);
    }

    /// The old masters learn that they are replicas now.
    pub(super) fn demote(&self) {
        let mut inner = self.inner();
        let (_, old) = inner.servers.split_last_mut().expect("there is a master");
        for server in old {
            server.is_replica = true;
        }
    }

    /// All links are as good as before, except for dead ones, which the nodes have to notice themselves.
    pub(super) fn heal(&self) {
        for connection in &mut self.inner().connections {
            for way in &mut connection.ways {
                way.slow = 0;
            }
        }
    }
}

impl Inner {
    /// The server that nodes find.
    pub(super) fn redis(&mut self) -> &mut Redis {
        self.servers.last_mut().expect("there is a master")
    }

    /// Tells what the servers have done since.
    pub(super) fn tell(&mut self) {
        for server in &mut self.servers {
            for deed in std::mem::take(&mut server.deeds) {
                self.story.did(None, deed);
            }
        }
    }

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

    /// Remembers that the link works until now, if it does.
    fn note_whether_it_works(&mut self, node: usize, id: ConnectionId, now: Instant) {
        let connection = &self.connections[id];
        let is_bad = |way: &Way| way.is_lost || way.stalled.is_some_and(|until| until > now);
        if !connection.ways.iter().any(is_bad) {
            self.worked.insert((node, connection.is_subscriber), now);
        }
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
        let server = connection.server;
        self.servers[server].forget(id);
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
                    let connection = &self.connections[id];
                    if !connection.ways[0].is_lost {
                        self.servers[connection.server].forget(id);
                    }
                }
            }
        }
    }

    fn serve(&mut self, id: ConnectionId, command: &Command, now: Instant) {
        if command.first().is_some_and(|name| name == b"SUBSCRIBE") {
            self.connections[id].is_subscriber = true;
        }
        let Connection { node, server, .. } = self.connections[id];
        let by = By {
            node,
            connection: id,
            server,
            is_replaced: server + 1 < self.servers.len(),
        };
        let redis = &mut self.servers[server];
        let reply = redis.run(id, command, now);
        for deed in std::mem::take(&mut redis.deeds) {
            self.story.did(Some(by), deed);
        }
        for (to, bytes) in std::mem::take(&mut redis.pushes) {
            self.send(to, false, Packet::Bytes(bytes));
        }
        if let Some(reply) = reply {
            let mut bytes = Vec::new();
            reply.encode(&mut bytes);
            self.send(id, false, Packet::Bytes(bytes));
        }
    }
}
