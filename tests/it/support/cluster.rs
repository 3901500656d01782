//! A Cluster of three masters with a replica each.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use redis::{Connection, Value, cluster_routing::Slot};
use tempfile::TempDir;

use super::{
    PATIENCE, eventually,
    process::{Process, connect_redis, free_port, redis_at, redis_tls, trusting_redis},
    sockd::{Builder, Sockd},
};

/// Silence after which the others consider a node dead; shorter would fail on a busy machine.
const NODE_TIMEOUT: Duration = Duration::from_secs(3);
const SLOTS: u16 = 16_384;

/// The nodes; killed when dropped. The first three began as masters, each with the third after it
/// as its replica.
pub struct Cluster {
    pub nodes: Vec<Node>,
    /// Whether they speak TLS with each other, and servers of ours with them.
    is_tls: bool,
    _directory: TempDir,
}

pub struct Node {
    process: Process,
    pub port: u16,
    tls_port: u16,
    bus_port: u16,
    pub id: String,
}

/// A slot on its way from one master to another.
pub struct Move<'a> {
    source: &'a Node,
    target: &'a Node,
    masters: Vec<&'a Node>,
    slot: String,
}

impl Node {
    async fn start(directory: &TempDir, is_tls: bool) -> Self {
        // Another process may take a port between our look and redis-server's bind.
        for _ in 0..10 {
            let mut node = Self::try_start(directory, is_tls);
            if node.process.serves_redis(node.port).await {
                return node;
            }
        }
        panic!("redis-server did not start ten times over");
    }

    fn try_start(directory: &TempDir, is_tls: bool) -> Self {
        let (port, bus_port, tls_port) = (free_port(), free_port(), free_port());
        let path = directory.path().join(port.to_string());
        std::fs::create_dir(&path).expect("a new folder");
        let arguments = [
            "--port",
            &port.to_string(),
            "--cluster-port",
            &bus_port.to_string(),
            "--bind",
            "127.0.0.1",
            "--dir",
            path.to_str().expect("UTF-8"),
            "--save",
            "",
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            &NODE_TIMEOUT.as_millis().to_string(),
            "--repl-diskless-sync-delay",
            "0",
        ];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        if is_tls {
            arguments.extend(redis_tls(tls_port));
            arguments.extend(["--tls-cluster", "yes"].map(str::to_owned));
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let process = Process::start("redis-server", &arguments);
        let id = String::new();
        Self {
            process,
            port,
            tls_port,
            bus_port,
            id,
        }
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn try_connection(&self) -> Option<Connection> {
        redis_at(self.port)
    }

    pub fn connection(&self) -> Connection {
        connect_redis(self.port)
    }

    /// Has the replica take the place of its master in good order; waits until it has.
    pub async fn fail_over(&self) {
        // Refused while the nodes do not know each other well enough.
        eventually(PATIENCE, "the beginning of a failover", || async {
            let mut failover = redis::cmd("CLUSTER");
            failover.arg("FAILOVER");
            failover.exec(&mut self.connection()).is_ok() || self.is_master()
        })
        .await;
        eventually(PATIENCE, "a new master", || async { self.is_master() }).await;
    }

    /// Freezes it: connections stay, and there are no replies.
    pub fn freeze(&self) {
        self.process.signal("STOP");
    }

    pub fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// How many subscribers a sharded channel has there.
    pub fn subscribers(&self, channel: &str) -> usize {
        let counts: (String, usize) = redis::cmd("PUBSUB")
            .arg("SHARDNUMSUB")
            .arg(channel)
            .query(&mut self.connection())
            .expect("SHARDNUMSUB works");
        counts.1
    }

    /// The node's reply to `CLUSTER …`.
    pub fn cluster<T: redis::FromRedisValue>(&self, arguments: &[&str]) -> T {
        let mut connection = self.connection();
        let mut command = redis::cmd("CLUSTER");
        let answer = command.arg(arguments).query(&mut connection);
        answer.unwrap_or_else(|error| panic!("CLUSTER {arguments:?}: {error}"))
    }

    /// Who serves which slots since which epoch, as this node sees it.
    fn view(&self) -> BTreeSet<String> {
        let nodes: String = self.cluster(&["NODES"]);
        let masters = nodes.lines().filter(|line| line.contains("master"));
        let columns = |line: &str| {
            let columns: Vec<&str> = line.split(' ').collect();
            // The id and the epoch, then the slots without the mark of a slot on its way.
            let slots = columns[8..].iter().filter(|slots| !slots.starts_with('['));
            format!("{} {} {slots:?}", columns[0], columns[6])
        };
        masters.map(columns).collect()
    }

    pub fn is_master(&self) -> bool {
        let role = self.try_connection().and_then(|mut connection| {
            redis::cmd("ROLE").query::<Vec<Value>>(&mut connection).ok()
        });
        let first = role.and_then(|role| redis::from_redis_value_ref::<String>(role.first()?).ok());
        first.as_deref() == Some("master")
    }

    /// Whether it and all that it knows serve all slots.
    fn is_well(&self) -> bool {
        let Some(mut connection) = self.try_connection() else {
            return false;
        };
        let info = redis::cmd("CLUSTER")
            .arg("INFO")
            .query::<String>(&mut connection);
        info.is_ok_and(|info| {
            info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
        })
    }
}

impl Cluster {
    /// Starts it and waits until every master has its replica.
    pub async fn start() -> Self {
        Self::start_as(false).await
    }

    /// The same, all over TLS.
    pub async fn with_tls() -> Self {
        Self::start_as(true).await
    }

    async fn start_as(is_tls: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut nodes = Vec::new();
        for _ in 0..6 {
            nodes.push(Node::start(&directory, is_tls).await);
        }
        for node in &mut nodes {
            node.id = node.cluster(&["MYID"]);
        }
        let bounds = [0, SLOTS / 3, SLOTS / 3 * 2, SLOTS];
        for (master, node) in nodes[..3].iter().enumerate() {
            let (first, last) = (bounds[master], bounds[master + 1] - 1);
            let range = [first.to_string(), last.to_string()];
            let () = node.cluster(&["ADDSLOTSRANGE", &range[0], &range[1]]);
            let () = node.cluster(&["SET-CONFIG-EPOCH", &(master + 1).to_string()]);
        }
        for node in &nodes[1..] {
            let bus_port = node.bus_port.to_string();
            // Among themselves they use the port of the way that they speak.
            let port = if is_tls { node.tls_port } else { node.port };
            let () = nodes[0].cluster(&["MEET", "127.0.0.1", &port.to_string(), &bus_port]);
        }
        let cluster = Self {
            nodes,
            is_tls,
            _directory: directory,
        };
        eventually(2 * PATIENCE, "the nodes' acquaintance", || async {
            let knows_all = |node: &Node| node.cluster::<String>(&["NODES"]).lines().count() == 6;
            cluster
                .nodes
                .iter()
                .all(|node| knows_all(node) && node.is_well())
        })
        .await;
        for replica in 3..6 {
            let master = cluster.nodes[replica - 3].id.clone();
            let () = cluster.nodes[replica].cluster(&["REPLICATE", &master]);
        }
        eventually(2 * PATIENCE, "the replicas", || async {
            let is_synced = |node: &Node| {
                let info = redis::cmd("INFO")
                    .arg("replication")
                    .query::<String>(&mut node.connection());
                info.is_ok_and(|info| info.contains("master_link_status:up"))
            };
            let sees_all = |node: &Node| {
                let nodes: String = node.cluster(&["NODES"]);
                nodes.lines().filter(|line| line.contains("slave")).count() == 3
            };
            cluster.nodes[3..].iter().all(is_synced) && cluster.nodes.iter().all(sees_all)
        })
        .await;
        cluster
    }

    /// `a:1,b:2`, as the configuration takes it.
    pub fn addresses(&self) -> String {
        let addresses = self.nodes.iter().map(|node| match self.is_tls {
            true => format!("rediss://127.0.0.1:{}", node.tls_port),
            false => format!("127.0.0.1:{}", node.port),
        });
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Makes a server use it.
    pub fn configure(&self, builder: Builder) -> Builder {
        let builder = match self.is_tls {
            true => trusting_redis(builder),
            false => builder,
        };
        builder.env("SOCKD_REDIS__CLUSTER", self.addresses())
    }

    /// A server that is subscribed to it already.
    pub async fn sockd(&self) -> Sockd {
        let sockd = self.configure(Sockd::builder()).start().await;
        sockd.is_ready(PATIENCE).await;
        sockd
    }

    /// The place in `nodes` of the master that serves the key, as a living node sees it.
    pub fn master_of(&self, key: &str) -> usize {
        let is_alive = |node: &&Node| node.try_connection().is_some();
        let witness = self.nodes.iter().find(is_alive).expect("a living node");
        let ranges: Vec<Vec<Value>> = witness.cluster(&["SLOTS"]);
        let port = ranges.iter().find_map(|range| {
            let [first, last, Value::Array(master), ..] = range.as_slice() else {
                panic!("{range:?}");
            };
            let number = |value| redis::from_redis_value_ref::<u16>(value).expect("a number");
            let is_there = |slot| Slot::new(slot) == Some(Slot::for_key(key));
            (number(first)..=number(last))
                .any(is_there)
                .then(|| number(&master[1]))
        });
        let is_it = |node: &Node| Some(node.port) == port;
        self.nodes
            .iter()
            .position(is_it)
            .expect("all slots are served")
    }

    /// Begins to move a key's slot to another master, as `redis-cli --cluster reshard` does.
    pub fn begin_move(&self, key: &str, to: usize) -> Move<'_> {
        let (source, target) = (&self.nodes[self.master_of(key)], &self.nodes[to]);
        let is_it = |&slot: &u16| Slot::new(slot) == Some(Slot::for_key(key));
        let slot = (0..SLOTS).find(is_it).expect("a slot").to_string();
        let () = target.cluster(&["SETSLOT", &slot, "IMPORTING", &source.id]);
        let () = source.cluster(&["SETSLOT", &slot, "MIGRATING", &target.id]);
        Move {
            source,
            target,
            masters: self.nodes.iter().filter(|node| node.is_master()).collect(),
            slot,
        }
    }
}

impl Move<'_> {
    /// Moves what is in the slot.
    pub fn move_keys(&self) {
        let keys: Vec<String> = self.source.cluster(&["GETKEYSINSLOT", &self.slot, "1000"]);
        if keys.is_empty() {
            return;
        }
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(self.target.port);
        migrate.arg("").arg(0).arg(5_000).arg("KEYS").arg(&keys);
        migrate
            .exec(&mut self.source.connection())
            .expect("MIGRATE works");
    }

    /// From now on the slot is the target's.
    pub fn finish(self) {
        // First these two, so that the slot always has an owner; then the others.
        for node in [self.target, self.source]
            .into_iter()
            .chain(self.masters.iter().copied())
        {
            let mut setslot = redis::cmd("CLUSTER");
            setslot.arg(&["SETSLOT", &self.slot, "NODE", &self.target.id]);
            let mut tries = 0;
            while let Err(error) = setslot.exec(&mut node.connection()) {
                // Keys that came meanwhile.
                assert!(tries < 20, "SETSLOT: {error}");
                tries += 1;
                self.move_keys();
            }
        }
        self.await_agreement();
    }

    /// Waits until all masters know the target's new epoch. Moved again before, the slot can end up
    /// unowned: a late heartbeat of an old owner whose epoch is unknown takes it from the new one.
    fn await_agreement(&self) {
        let deadline = Instant::now() + PATIENCE;
        let agree = || {
            let views: BTreeSet<_> = self.masters.iter().map(|node| node.view()).collect();
            views.len() == 1
        };
        while !agree() {
            assert!(Instant::now() < deadline, "the masters do not agree");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
