//! Nodes, clients and backends over one Redis, and a run of a plan.

mod backend;
mod client;
mod operator;
mod process;
mod quiet;
mod trouble;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use sockd::id::{SessionId, UserId};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use self::{client::Client, process::Process};
use super::{
    invariants,
    network::Network,
    panics,
    plan::{Plan, Step},
    story::Story,
};

const KEY_PREFIX: &str = "socket:active_session:";
pub(super) const SWEEP: Duration = Duration::from_secs(4);
/// Once nothing has been wrong for this long, every trace of trouble must be gone.
const QUIET: Duration = Duration::from_secs(11);

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
    let run = async {
        let world = World::begin(seed, plan);
        world.play(plan).await;
        let mut told = world.story.told();
        Outcome {
            lines: std::mem::take(&mut told.lines),
            wrongs: std::mem::take(&mut told.wrongs),
        }
    };
    let (mut outcome, panics) = panics::watch(|| runtime.block_on(run));
    outcome.wrongs.extend(panics);
    outcome
}

struct World {
    story: Story,
    network: Arc<Network>,
    rng: Mutex<fastrand::Rng>,
    /// How long Redis remembers a session.
    ttl: Duration,
    /// By place, where another process may succeed the first.
    processes: Mutex<BTreeMap<usize, Process>>,
    clients: Mutex<Vec<Client>>,
    /// What is going to be mended by itself.
    mending: Mutex<Vec<JoinHandle<()>>>,
}

impl World {
    fn begin(seed: u64, plan: &Plan) -> Arc<Self> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let story = Story::begin(plan.ttl);
        let network = Network::new(story.clone(), rng.fork());
        tokio::spawn(network.clone().run());
        let world = Arc::new(Self {
            story,
            network,
            rng: Mutex::new(rng),
            ttl: plan.ttl,
            processes: Mutex::default(),
            clients: Mutex::default(),
            mending: Mutex::default(),
        });
        for place in 0..plan.nodes {
            world.start_process(place);
        }
        world
    }

    async fn play(self: &Arc<Self>, plan: &Plan) {
        let start = Instant::now();
        let watch = tokio::spawn(self.clone().watch());
        for (at, step) in &plan.steps {
            sleep_until(start + Duration::from_millis(*at)).await;
            self.take(step.clone());
        }
        self.heal().await;
        self.story.say("world", "everything is well from now on");
        sleep(QUIET).await;
        self.check_answers().await;
        invariants::check(&mut self.story.told());
        self.check_quiet();
        self.check_that_it_works().await;
        for client in self.clients().drain(..) {
            client.leave();
        }
        sleep(Duration::from_secs(1)).await;
        self.check_registries();
        watch.abort();
        for process in self.all_processes() {
            process.lifecycle.end().await;
        }
    }

    fn take(self: &Arc<Self>, step: Step) {
        match step {
            Step::Connect {
                user,
                session,
                node,
                faithful,
            } => self.connect(user, session, node, faithful),
            Step::HangUp { client } => {
                if let Some(client) = self.clients().get(client) {
                    client.leave();
                }
            }
            Step::LogIn {
                user,
                session,
                node,
                patience,
            } => {
                let world = self.clone();
                self.process(node).spawn(async move {
                    world.log_in(user, session, node, patience).await;
                });
            }
            Step::Kick { user, fresh, node } => {
                let world = self.clone();
                self.process(node)
                    .spawn(async move { world.kick(user, fresh, node).await });
            }
            Step::Emit {
                user,
                node,
                patience,
            } => {
                let world = self.clone();
                self.process(node).spawn(async move {
                    world.emit(user, node, patience).await;
                });
            }
            Step::Ask { user, node } => {
                let world = self.clone();
                self.process(node)
                    .spawn(async move { world.ask(user, node).await });
            }
            Step::Trace { user, node, time } => {
                let world = self.clone();
                self.process(node)
                    .spawn(async move { world.trace(user, node, time).await });
            }
            Step::Meddle { user, what } => self.meddle(user, what),
            Step::Fault(fault) => self.break_something(fault),
            Step::Kill { node } => self.kill(node),
            Step::Drain { node } => {
                let world = self.clone();
                tokio::spawn(async move { world.drain(node).await });
            }
        }
    }

    fn process(&self, place: usize) -> Process {
        self.processes()[&place].clone()
    }

    fn all_processes(&self) -> Vec<Process> {
        self.processes().values().cloned().collect()
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<usize, Process>> {
        self.processes.lock().unwrap()
    }

    fn clients(&self) -> MutexGuard<'_, Vec<Client>> {
        self.clients.lock().unwrap()
    }

    fn rng(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.rng.lock().unwrap()
    }
}

fn user_id(number: usize) -> UserId {
    UserId::try_from(format!("u{number}")).expect("an id")
}

fn session_id(number: usize) -> SessionId {
    SessionId::try_from(format!("s{number}")).expect("an id")
}

fn key(user: usize) -> String {
    format!("{KEY_PREFIX}u{user}")
}
