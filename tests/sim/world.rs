//! Nodes, clients and backends over one Redis, and a run of a plan.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use sockd::{
    bus::{Bus, redis::RedisBus},
    config::{self, Topology},
    hub::{Farewell, Outlet},
    id::{EventName, NodeId, SessionId, UserId},
    lifecycle::Lifecycle,
    node::{DECISION_LIMIT, Node},
    redis::{Link, dialer::Dialer, names::ChannelNames},
    session::{SessionStore, redis::RedisSessions},
    wire::Event,
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    invariants,
    link::{Network, REFUSAL, Which},
    plan::{Fault, NODES, Plan, Step, USERS},
    story::{Emit, Logout, Socket, Story},
};

const KEY_PREFIX: &str = "socket:active_session:";
const SWEEP: Duration = Duration::from_secs(4);
/// How long a link may be dead before `/readyz` must say so: three pings, each with its pause and its limit.
const UNREADY_LIMIT: Duration = Duration::from_secs(8);
/// After this long with nothing wrong every trace of what was wrong must be gone.
const QUIET: Duration = Duration::from_secs(11);
const SAMPLE: Duration = Duration::from_millis(150);

/// What became of a run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) lines: Vec<String>,
    pub(super) wrongs: Vec<String>,
}

/// Runs the plan.
pub(super) fn run(seed: u64, plan: &Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let world = World::begin(seed);
        world.play(plan).await;
        let mut told = world.story.told();
        Outcome {
            lines: std::mem::take(&mut told.lines),
            wrongs: std::mem::take(&mut told.wrongs),
        }
    })
}

struct World {
    story: Story,
    network: Arc<Network>,
    rng: Mutex<fastrand::Rng>,
    /// By place; another process may come to be in the same.
    nodes: Mutex<BTreeMap<usize, Place>>,
    clients: Mutex<Vec<Client>>,
    /// What is going to be mended by itself.
    mending: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Clone)]
struct Place {
    /// Which process it is, of all of the run.
    number: usize,
    node: Arc<Node>,
    bus: Bus,
    lifecycle: Lifecycle,
    /// What ends with the process.
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

struct Client {
    place: usize,
    gone: Arc<Notify>,
}

/// Where a client hears what the node says.
struct Ear {
    socket: usize,
    story: Story,
    dismissed: Arc<Notify>,
}

impl Outlet for Ear {
    fn send(&self, event: &Event) -> bool {
        let number = str::from_utf8(event.payload()).expect("JSON is UTF-8");
        let number = number.parse().expect("a number");
        let mut told = self.story.told();
        told.say(
            format_args!("client {}", self.socket),
            format_args!("gets event {number}"),
        );
        let received = (Instant::now(), number);
        told.sockets[self.socket].received.push(received);
        true
    }

    fn overrun(&self) {
        let wrong = format!("client {} lost events that had to wait", self.socket);
        self.story.told().wrongs.push(wrong);
    }

    fn dismiss(&self, farewell: Farewell) -> bool {
        let mut told = self.story.told();
        told.say(
            format_args!("client {}", self.socket),
            format_args!("is dismissed: {farewell:?}"),
        );
        let ended = &mut told.sockets[self.socket].ended;
        let was_connected = ended.is_none();
        ended.get_or_insert(Instant::now());
        self.dismissed.notify_one();
        was_connected
    }
}

impl World {
    fn begin(seed: u64) -> Arc<Self> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let story = Story::begin();
        let network = Network::new(story.clone(), rng.fork());
        tokio::spawn(network.clone().run());
        let world = Arc::new(Self {
            story,
            network,
            rng: Mutex::new(rng),
            nodes: Mutex::default(),
            clients: Mutex::default(),
            mending: Mutex::default(),
        });
        for place in 0..NODES {
            world.start_node(place);
        }
        world
    }

    async fn play(self: &Arc<Self>, plan: &Plan) {
        let start = Instant::now();
        let sampler = tokio::spawn(self.clone().sample());
        for (at, step) in plan {
            sleep_until(start + Duration::from_millis(*at)).await;
            self.clone().take(step.clone());
        }
        self.heal().await;
        self.story.say("world", "everything is well from now on");
        sleep(QUIET).await;
        invariants::check(&mut self.story.told());
        self.check_quiet();
        self.check_that_it_works().await;
        for client in self.clients().drain(..) {
            client.gone.notify_one();
        }
        sleep(Duration::from_secs(1)).await;
        self.check_registries();
        sampler.abort();
        let places: Vec<Place> = self.nodes().values().cloned().collect();
        for place in places {
            place.lifecycle.end().await;
        }
    }

    fn start_node(self: &Arc<Self>, place: usize) {
        let lifecycle = Lifecycle::default();
        let number = {
            let mut told = self.story.told();
            let now = Instant::now();
            told.unlinked.push(vec![now]);
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
            tls_ca_file: None,
            tls_client_files: None,
            channel_prefix: "sockd:".to_owned(),
            connect_timeout: Duration::from_secs(2),
            command_timeout: Duration::from_secs(1),
        };
        let names = ChannelNames::new(&config, "user:", KEY_PREFIX);
        let dialer = Dialer::Given(self.network.of_node(number));
        let link = Link::start(config, dialer, &lifecycle);
        let ttl = Duration::from_secs(604_800);
        let sessions = RedisSessions::new(link.clone(), KEY_PREFIX.to_owned(), ttl);
        let bus = Bus::Redis(Arc::new(RedisBus::new(id.clone(), link, names)));
        let sessions = SessionStore::Redis(sessions);
        let node = Node::start(id, sessions, bus.clone(), SWEEP, None, &lifecycle);
        self.story.say(format_args!("node {number}"), "starts");
        let process = Place {
            number,
            node,
            bus,
            lifecycle,
            tasks: Arc::default(),
        };
        self.nodes().insert(place, process);
    }

    fn take(self: Arc<Self>, step: Step) {
        match step {
            Step::Connect {
                user,
                session,
                node,
            } => self.connect(user, session, node),
            Step::HangUp { client } => {
                if let Some(client) = self.clients().get(client) {
                    client.gone.notify_one();
                }
            }
            Step::LogIn {
                user,
                session,
                node,
            } => {
                let place = self.place(node);
                let world = self.clone();
                let task = async move {
                    world.log_in(user, session, node).await;
                };
                place.spawn(task);
            }
            Step::Emit { user, node } => {
                let place = self.place(node);
                let world = self.clone();
                place.spawn(async move {
                    world.emit(user, node).await;
                });
            }
            Step::Fault(fault) => self.break_something(fault),
            Step::Kill { node } => self.kill(node),
            Step::Drain { node } => {
                tokio::spawn(async move { self.drain(node).await });
            }
        }
    }

    fn connect(self: &Arc<Self>, user: usize, session: usize, place: usize) {
        let gone = Arc::new(Notify::new());
        self.clients().push(Client {
            place,
            gone: gone.clone(),
        });
        let process = self.place(place);
        let number = process.number;
        let socket = {
            let mut told = self.story.told();
            told.sockets.push(Socket {
                user,
                session,
                node: number,
                live: None,
                ended: None,
                received: Vec::new(),
            });
            let socket = told.sockets.len() - 1;
            told.say(
                format_args!("client {socket}"),
                format_args!("of u{user} comes to node {number} with s{session}"),
            );
            socket
        };
        let slow = Duration::from_millis(self.rng().u64(0..20));
        let world = self.clone();
        let node = process.node.clone();
        process.spawn(async move {
            let client = format!("client {socket}");
            let session = world.handshake(socket, &node, user, session, slow);
            tokio::select! {
                biased;
                why = session => world.story.say(&client, why),
                () = gone.notified() => world.story.say(&client, "goes"),
            }
            let mut told = world.story.told();
            told.sockets[socket].ended.get_or_insert(Instant::now());
        });
    }

    /// Lives through one socket; returns why it ended.
    async fn handshake(
        &self,
        socket: usize,
        node: &Node,
        user: usize,
        session: usize,
        slow: Duration,
    ) -> String {
        let dismissed = Arc::new(Notify::new());
        let ear = Arc::new(Ear {
            socket,
            story: self.story.clone(),
            dismissed: dismissed.clone(),
        });
        let (user, session) = (user_id(user), session_id(session));
        let deadline = Instant::now() + DECISION_LIMIT;
        let admitted = match node.admit(&user, &session, ear, deadline).await {
            Ok(admitted) => admitted,
            Err(refusal) => return format!("is refused: {refusal}"),
        };
        sleep(slow).await;
        {
            let mut told = self.story.told();
            told.sockets[socket].live = Some(Instant::now());
            told.say(format_args!("client {socket}"), "is in");
        }
        if let Err(farewell) = admitted.activate() {
            self.story.told().sockets[socket].live = None;
            return format!("has to go at once: {farewell:?}");
        }
        dismissed.notified().await;
        sleep(slow).await;
        "is gone".to_owned()
    }

    async fn log_in(&self, user: usize, session: usize, place: usize) -> bool {
        let process = self.place(place);
        let logout = {
            let mut told = self.story.told();
            told.say(
                format_args!("backend"),
                format_args!("logs u{user} in as s{session} at node {}", process.number),
            );
            told.logouts.push(Logout {
                user,
                session,
                node: process.number,
                started: Instant::now(),
                answered: None,
            });
            told.logouts.len() - 1
        };
        let done = process
            .node
            .force_logout(&user_id(user), &session_id(session))
            .await;
        let mut told = self.story.told();
        let answer = match &done {
            Ok(done) => format!("200, {} disconnected", done.disconnected),
            Err(error) => format!("503, {}", sockd::error::chain(error)),
        };
        told.say(
            "backend",
            format_args!("login s{session} of u{user}: {answer}"),
        );
        told.logouts[logout].answered = Some((Instant::now(), done.is_ok()));
        done.is_ok()
    }

    async fn emit(&self, user: usize, place: usize) -> Option<usize> {
        let process = self.place(place);
        let number = {
            let mut told = self.story.told();
            told.emits.push(Emit {
                user,
                node: process.number,
                started: Instant::now(),
                answered: None,
            });
            let number = told.emits.len() - 1;
            told.say(
                "backend",
                format_args!("sends event {number} to u{user} at node {}", process.number),
            );
            number
        };
        let event = event(number);
        let done = process.node.emit(&user_id(user), &event).await;
        let mut told = self.story.told();
        let code = if done.is_ok() { 200 } else { 503 };
        told.say("backend", format_args!("event {number}: {code}"));
        told.emits[number].answered = Some((Instant::now(), done.is_ok()));
        done.is_ok().then_some(number)
    }

    fn break_something(self: &Arc<Self>, fault: Fault) {
        self.story.say("fault", format_args!("{fault:?}"));
        let now = Instant::now();
        self.mark_all_unlinked(now);
        if !matches!(
            fault,
            Fault::Flush | Fault::Full(_) | Fault::ReadOnly(_) | Fault::Mute(_)
        ) {
            let mut told = self.story.told();
            told.troubled.iter_mut().for_each(|times| times.push(now));
        }
        let network = &self.network;
        let number = |place: usize| self.place(place).number;
        match fault {
            Fault::Cut(place, which) => network.cut(number(place), which),
            Fault::Lose(place, which, direction) => network.lose(number(place), which, direction),
            Fault::Stall(place, which, direction, time) => {
                network.stall(number(place), which, direction, time);
                self.after(time, "the link goes on", |_| {});
            }
            Fault::Slow(place, which, direction, time) => {
                network.slow(number(place), which, direction, time);
            }
            Fault::Freeze(time) => {
                network.freeze(true);
                self.after(time, "redis goes on", |world| world.network.freeze(false));
            }
            Fault::Restart { down, keeps_data } => {
                network.stop();
                network.inner().redis.restart(keeps_data, now);
                if !keeps_data {
                    self.story.told().losses.push(now);
                }
                self.after(down, "redis is up", |world| world.network.start());
            }
            Fault::Flush => {
                network.inner().redis.flush(now);
                self.story.told().losses.push(now);
            }
            Fault::Full(time) => {
                network.inner().redis.is_full = true;
                self.after(time, "redis has room", |world| {
                    world.network.inner().redis.is_full = false;
                });
            }
            Fault::ReadOnly(time) => {
                network.inner().redis.is_replica = true;
                self.after(time, "redis is the master again", |world| {
                    world.network.inner().redis.is_replica = false;
                });
            }
            Fault::Mute(time) => {
                network.inner().redis.is_mute = true;
                self.after(time, "redis lets publish again", |world| {
                    world.network.inner().redis.is_mute = false;
                });
            }
            Fault::FailOver { lag, down } => {
                network.stop();
                network.inner().redis.fail_over(lag, now);
                self.story.told().losses.push(now);
                self.after(down, "another redis is up", |world| world.network.start());
            }
        }
    }

    fn after(
        self: &Arc<Self>,
        time: Duration,
        what: &'static str,
        mend: impl FnOnce(&Self) + Send + 'static,
    ) {
        let world = self.clone();
        let mending = tokio::spawn(async move {
            sleep(time).await;
            world.story.say("fault", what);
            mend(&world);
        });
        self.mending.lock().unwrap().push(mending);
    }

    /// Waits until nothing is broken any more, but for links that are dead: the nodes have to see that.
    async fn heal(&self) {
        let mending = std::mem::take(&mut *self.mending.lock().unwrap());
        for mending in mending {
            mending.await.ok();
        }
        self.network.heal();
    }

    fn kill(self: &Arc<Self>, place: usize) {
        let process = self.place(place);
        self.story
            .say(format_args!("node {}", process.number), "is killed");
        self.network.cut(process.number, Which::Both);
        self.end(place, &process);
    }

    async fn drain(self: &Arc<Self>, place: usize) {
        let process = self.place(place);
        self.story
            .say(format_args!("node {}", process.number), "drains");
        process.lifecycle.drain();
        self.mark_unlinked(process.number, Instant::now());
        for client in self.clients().iter() {
            if client.place == place {
                client.gone.notify_one();
            }
        }
        sleep(Duration::from_millis(300)).await;
        process.bus.leave(Duration::from_secs(1)).await;
        self.end(place, &process);
    }

    fn end(self: &Arc<Self>, place: usize, process: &Place) {
        let now = Instant::now();
        self.mark_unlinked(process.number, now);
        self.story.told().troubled[process.number].push(now);
        for task in process.tasks().drain(..) {
            task.abort();
        }
        let lifecycle = process.lifecycle.clone();
        tokio::spawn(async move { lifecycle.end().await });
        {
            let mut told = self.story.told();
            let now = Instant::now();
            for socket in &mut told.sockets {
                if socket.node == process.number {
                    socket.ended.get_or_insert(now);
                }
            }
        }
        // Whoever took this one's place meanwhile stays.
        if self.place(place).number == process.number {
            self.start_node(place);
        }
    }

    /// Looks again and again at which nodes are linked, and whether they say so.
    async fn sample(self: Arc<Self>) {
        let mut dead_since: BTreeMap<(usize, &str), Instant> = BTreeMap::new();
        loop {
            let now = Instant::now();
            let places: Vec<Place> = self.nodes().values().cloned().collect();
            for process in &places {
                let ready = process.node.check();
                let number = process.number;
                let deaths = self.network.deaths(number);
                let is_bad = !deaths.is_empty() || self.network.is_impaired(number);
                if ready.is_err() || is_bad {
                    self.mark_unlinked(number, now);
                }
                let is_troubled = |what: &&str| *what != REFUSAL;
                if deaths.iter().any(is_troubled) || self.network.is_impaired(number) {
                    self.story.told().troubled[number].push(now);
                }
                dead_since.retain(|(node, what), _| *node != number || deaths.contains(what));
                for what in deaths {
                    let since = *dead_since.entry((number, what)).or_insert(now);
                    if ready.is_ok() && now - since > UNREADY_LIMIT {
                        let mut told = self.story.told();
                        let since = told.at(since);
                        let wrong = format!(
                            "node {number} says that it is ready, but {what} is dead since {since}"
                        );
                        if !told.wrongs.contains(&wrong) {
                            told.wrongs.push(wrong);
                        }
                    }
                }
            }
            sleep(SAMPLE).await;
        }
    }

    fn mark_unlinked(&self, node: usize, now: Instant) {
        self.story.told().unlinked[node].push(now);
    }

    fn mark_all_unlinked(&self, now: Instant) {
        let mut told = self.story.told();
        told.unlinked.iter_mut().for_each(|times| times.push(now));
    }

    /// What must hold once things have been quiet for a sweep.
    fn check_quiet(&self) {
        let places: Vec<Place> = self.nodes().values().cloned().collect();
        let stored = (0..USERS).map(|user| {
            let key = format!("{KEY_PREFIX}u{user}");
            let inner = self.network.inner();
            inner.redis.text(&key, Instant::now())
        });
        let stored: Vec<Option<String>> = stored.collect();
        let mut told = self.story.told();
        for process in &places {
            if let Err(why) = process.node.check() {
                let number = process.number;
                told.wrongs.push(format!(
                    "node {number} is not ready although all is well: {why}"
                ));
            }
        }
        for (user, stored) in stored.into_iter().enumerate() {
            let live = told.sockets.iter().enumerate().filter(|(_, socket)| {
                socket.user == user && socket.live.is_some() && socket.ended.is_none()
            });
            let live: Vec<(usize, usize)> = live
                .map(|(number, socket)| (number, socket.session))
                .collect();
            let mut sessions: Vec<usize> = live.iter().map(|(_, session)| *session).collect();
            sessions.sort_unstable();
            sessions.dedup();
            if sessions.len() > 1 {
                told.wrongs.push(format!(
                    "u{user} has live sockets of sessions {sessions:?} at once: {live:?}"
                ));
            }
            if let (Some(stored), [session]) = (stored, sessions.as_slice())
                && stored != format!("\"s{session}\"")
            {
                told.wrongs.push(format!(
                    "u{user} has live sockets of s{session}, but {stored} is active: {live:?}"
                ));
            }
        }
    }

    /// After whatever has happened, a user can log in, come, and be reached.
    async fn check_that_it_works(&self) {
        self.story.say("world", "does it still work?");
        for user in 0..USERS {
            let place = user % NODES;
            let session = 1_000 + user;
            if !self.log_in(user, session, place).await {
                let wrong = format!("u{user} cannot log in although all is well");
                self.story.told().wrongs.push(wrong);
            }
            let places: Vec<Place> = self.nodes().values().cloned().collect();
            let mut sockets = Vec::new();
            for process in &places {
                let socket = {
                    let mut told = self.story.told();
                    told.sockets.push(Socket {
                        user,
                        session,
                        node: process.number,
                        live: None,
                        ended: None,
                        received: Vec::new(),
                    });
                    told.sockets.len() - 1
                };
                let (story, node) = (self.story.clone(), process.node.clone());
                let ear = Arc::new(Ear {
                    socket,
                    story,
                    dismissed: Arc::default(),
                });
                let deadline = Instant::now() + DECISION_LIMIT;
                let (user, session) = (user_id(user), session_id(session));
                match node.admit(&user, &session, ear, deadline).await {
                    Ok(admitted) => {
                        admitted.activate().ok();
                        sockets.push((socket, admitted));
                    }
                    Err(refusal) => {
                        let wrong = format!("u{user} is refused although all is well: {refusal}");
                        self.story.told().wrongs.push(wrong);
                    }
                }
            }
            let event = self.emit(user, (user + 1) % NODES).await;
            sleep(Duration::from_millis(100)).await;
            let mut told = self.story.told();
            let Some(event) = event else {
                let wrong = format!("no event goes out for u{user} although all is well");
                told.wrongs.push(wrong);
                continue;
            };
            for (socket, _) in &sockets {
                let received = &told.sockets[*socket].received;
                if received.iter().all(|(_, number)| *number != event) {
                    told.wrongs
                        .push(format!("client {socket} does not get event {event}"));
                }
            }
        }
    }

    /// Nobody is there any more, and nothing is left of anybody.
    fn check_registries(&self) {
        let places: Vec<Place> = self.nodes().values().cloned().collect();
        for process in &places {
            let count = process.node.hub().count();
            let presences = process.node.hub().presences().count();
            if count + presences > 0 {
                let number = process.number;
                self.story.told().wrongs.push(format!(
                    "node {number} still has {count} sockets of {presences} users"
                ));
            }
            let channels = self.network.user_channels(process.number);
            if !channels.is_empty() {
                let number = process.number;
                let wrong = format!("node {number} still hears {channels:?}");
                self.story.told().wrongs.push(wrong);
            }
        }
    }

    fn place(&self, place: usize) -> Place {
        self.nodes()[&place].clone()
    }

    fn nodes(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Place>> {
        self.nodes.lock().unwrap()
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.clients.lock().unwrap()
    }

    fn rng(&self) -> std::sync::MutexGuard<'_, fastrand::Rng> {
        self.rng.lock().unwrap()
    }
}

impl Place {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks().push(tokio::spawn(task));
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap()
    }
}

fn user_id(number: usize) -> UserId {
    UserId::try_from(format!("u{number}")).expect("an id")
}

fn session_id(number: usize) -> SessionId {
    SessionId::try_from(format!("s{number}")).expect("an id")
}

fn event(number: usize) -> Event {
    let name = EventName::try_from("e").expect("a name");
    Event::new(name, &number.to_string())
}
