//! A node's process: how it starts, is killed, and drains.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use sockd::{
    bus::{Bus, redis::RedisBus},
    config::{self, Topology},
    id::NodeId,
    lifecycle::Lifecycle,
    node::Node,
    redis::{Link, dialer::Dialer, names::ChannelNames},
    session::{SessionStore, redis::RedisSessions},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{KEY_PREFIX, SWEEP, World, operator};
use crate::network::Which;

#[derive(Clone)]
pub(super) struct Process {
    /// Which it is, of all processes of the run.
    pub(super) number: usize,
    pub(super) node: Arc<Node>,
    pub(super) lifecycle: Lifecycle,
    bus: Bus,
    /// What ends with the process.
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Process {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks().push(tokio::spawn(task));
    }

    /// Whether it gathers answers of other nodes, or would if nobody had forgotten to end it.
    pub(super) fn has_open_questions(&self) -> bool {
        !format!("{:?}", self.bus).contains("questions: {}")
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap()
    }
}

impl World {
    pub(super) fn start_process(self: &Arc<Self>, place: usize) {
        let lifecycle = Lifecycle::default();
        let number = {
            let mut told = self.story.told();
            let now = Instant::now();
            told.runs.push((now, None));
            told.unlinked.push(vec![now]);
            told.deaf.push(vec![now]);
            told.troubled.push(vec![now]);
            told.unlinked.len() - 1
        };
        let id = NodeId::try_from(format!("n{number}")).expect("an id");
        let config = config::Redis {
            topology: Topology::Standalone {
                url: "redis://redis:6379".to_owned(),
            },
            username: None,
            password: None,
            tls: config::ClientTls::default(),
            channel_prefix: "sockd:".to_owned(),
            connect_timeout: Duration::from_secs(2),
            command_timeout: Duration::from_secs(1),
        };
        let names = ChannelNames::new(&config, "user:", KEY_PREFIX);
        let dialer = Dialer::Given(self.network.of_node(number));
        let link = Link::start(config, dialer, &lifecycle);
        let sessions = RedisSessions::new(link.clone(), KEY_PREFIX.to_owned(), self.ttl);
        let bus = Bus::Redis(Arc::new(RedisBus::new(id.clone(), link, names)));
        let sessions = SessionStore::Redis(sessions);
        let node = Node::start(id, sessions, bus.clone(), SWEEP, &lifecycle);
        node.report_by(Box::new(operator::report));
        self.story.say(format_args!("node {number}"), "starts");
        let process = Process {
            number,
            node,
            bus,
            lifecycle,
            tasks: Arc::default(),
        };
        self.processes().insert(place, process);
    }

    pub(super) fn kill(self: &Arc<Self>, place: usize) {
        let process = self.process(place);
        let who = format!("node {}", process.number);
        self.story.say(who, "is killed");
        self.network.cut(process.number, Which::Both);
        self.end(place, &process);
    }

    pub(super) async fn drain(self: &Arc<Self>, place: usize) {
        let process = self.process(place);
        let who = format!("node {}", process.number);
        self.story.say(who, "drains");
        process.lifecycle.drain();
        self.mark_unlinked(process.number, Instant::now());
        self.close_connections(place);
        sleep(Duration::from_millis(300)).await;
        process.bus.leave(Duration::from_secs(1)).await;
        self.end(place, &process);
    }

    fn end(self: &Arc<Self>, place: usize, process: &Process) {
        let now = Instant::now();
        self.mark_unlinked(process.number, now);
        self.story.told().troubled[process.number].push(now);
        self.story.told().deaf[process.number].push(now);
        self.story.told().runs[process.number].1 = Some(now);
        for task in process.tasks().drain(..) {
            task.abort();
        }
        let lifecycle = process.lifecycle.clone();
        tokio::spawn(async move { lifecycle.end().await });
        for socket in &mut self.story.told().sockets {
            if socket.node == process.number {
                socket.ended.get_or_insert(now);
            }
        }
        // Whoever took this one's place meanwhile stays.
        if self.process(place).number == process.number {
            self.close_connections(place);
            self.start_process(place);
        }
    }
}
