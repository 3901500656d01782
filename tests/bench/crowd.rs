//! What very many sockets of one user cost: themselves, and the events of other users meanwhile.
//!
//! `cargo bench --bench crowd -- [SOCKETS] [ROUNDS]`. A write to a socket is simulated by 3 us of
//! CPU time, so that only the hub and the runtime are measured. Each round compares other users'
//! events while nothing else happens and while the crowd joins, hears, is logged out and leaves.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sockd::{
    hub::{About, Farewell, Hub, Lease, Outlet},
    id::{EventName, SessionId, UserId},
    lifecycle::Lifecycle,
    wire::{Event, LogoutReason},
};
use tokio::{
    runtime::Handle,
    task::{block_in_place, consume_budget, yield_now},
    time::sleep,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SOCKETS: usize = 10_000;
const ROUNDS: usize = 5;
/// Events for the crowd in a round.
const EVENTS: usize = 20;
/// Other users, with one socket each, and the time between two of their events.
const OTHERS: usize = 500;
const PAUSE: Duration = Duration::from_millis(2);
/// How long other users' events are measured without the crowd.
const QUIET: Duration = Duration::from_secs(2);
const WRITE: Duration = Duration::from_micros(3);

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    // Cargo adds an argument of its own.
    let numbers = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    let sockets = numbers.first().copied().unwrap_or(SOCKETS);
    let rounds = numbers.get(1).copied().unwrap_or(ROUNDS);

    let hub = Hub::new(&Lifecycle::default());
    let session = SessionId::try_from("a")?;
    let written = Arc::new(Writes::default());
    let users: Vec<UserId> = (0..OTHERS)
        .map(|number| UserId::try_from(number.to_string()))
        .collect::<Result<_, _>>()?;
    let _leases: Vec<Lease> = users
        .iter()
        .map(|user| join(&hub, user, &session, &written))
        .collect();
    let users = Arc::new(users);
    println!(
        "join, {EVENTS} events, logout, leave in ms; other users' p50, p99 quiet > meanwhile in us"
    );
    for _ in 0..rounds {
        let others = Others::start(&hub, &users);
        sleep(QUIET).await;
        let quiet = others.stop();
        let others = Others::start(&hub, &users);
        let crowd = tokio::spawn(crowd(hub.clone(), sockets)).await??;
        let meanwhile = others.stop();
        let crowd = crowd.map(|time| format!("{:.1}", time.as_secs_f64() * 1e3));
        println!(
            "{}; p50 {} > {}, p99 {} > {}",
            crowd.join(", "),
            percentile(&quiet, 50),
            percentile(&meanwhile, 50),
            percentile(&quiet, 99),
            percentile(&meanwhile, 99),
        );
    }
    Ok(())
}

/// How long the sockets of one user need to join, to hear, to be logged out, and to leave.
async fn crowd(hub: Arc<Hub>, sockets: usize) -> anyhow::Result<[Duration; 4]> {
    let user = UserId::try_from("crowd")?;
    let (old, new) = (SessionId::try_from("old")?, SessionId::try_from("new")?);
    let event = Event::new(EventName::try_from("e")?, "1");
    let written = Arc::new(Writes::default());

    let started = Instant::now();
    let mut leases = Vec::new();
    for _ in 0..sockets {
        leases.push(join(&hub, &user, &old, &written));
        consume_budget().await;
    }
    let joined = started.elapsed();

    let started = Instant::now();
    for _ in 0..EVENTS {
        hub.deliver(&user, &event);
        yield_now().await;
    }
    while written.0.load(Ordering::Relaxed) < sockets * EVENTS {
        sleep(Duration::from_millis(1)).await;
    }
    let heard = started.elapsed();

    let started = Instant::now();
    let judgement = hub.judge(&user, &new).expect("they are of another session");
    let revoked = judgement.keep(&new, LogoutReason::SESSION_REPLACED);
    drop(judgement);
    revoked.dismiss().await;
    let logged_out = started.elapsed();

    leases.clear();
    for _ in 0..sockets {
        leases.push(join(&hub, &user, &new, &written));
        consume_budget().await;
    }
    let started = Instant::now();
    for lease in leases {
        drop(lease);
        consume_budget().await;
    }
    Ok([joined, heard, logged_out, started.elapsed()])
}

fn join(hub: &Arc<Hub>, user: &UserId, session: &SessionId, written: &Arc<Writes>) -> Lease {
    let handshake = hub.register(user, session, written.clone());
    let lease = handshake.admit(None).ok().expect("nobody doubts it");
    lease.activate().expect("nobody replaces it");
    lease
}

/// Clients that count what is written to them.
#[derive(Default)]
struct Writes(AtomicUsize);

impl Outlet for Writes {
    fn send(&self, _: &Event) -> bool {
        write();
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn overrun(&self) {
        panic!("the events of a round fit");
    }

    fn dismiss(&self, _: &Farewell) -> bool {
        write();
        true
    }

    fn about(&self) -> Option<About> {
        None
    }
}

fn write() {
    let started = Instant::now();
    while started.elapsed() < WRITE {
        spin_loop();
    }
}

/// Sends events to other users from a thread of its own, each on a task as a caller does, and times
/// them until they are written.
struct Others {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    times: mpsc::Receiver<Duration>,
}

impl Others {
    fn start(hub: &Arc<Hub>, users: &Arc<Vec<UserId>>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (sender, times) = mpsc::channel();
        let (hub, users) = (hub.clone(), users.clone());
        let (runtime, stop) = (Handle::current(), is_over.clone());
        let thread = thread::spawn(move || {
            let event = Event::new(EventName::try_from("e").expect("a name"), "1");
            for number in (0..users.len()).cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(PAUSE);
                let (hub, users, event) = (hub.clone(), users.clone(), event.clone());
                let (sender, started) = (sender.clone(), Instant::now());
                runtime.spawn(async move {
                    hub.deliver(&users[number], &event);
                    sender.send(started.elapsed()).ok();
                });
            }
        });
        Self {
            is_over,
            thread,
            times,
        }
    }

    fn stop(self) -> Vec<Duration> {
        self.is_over.store(true, Ordering::Relaxed);
        block_in_place(|| {
            self.thread.join().expect("it does not panic");
            let mut times: Vec<_> = self.times.iter().collect();
            times.sort_unstable();
            times
        })
    }
}

fn percentile(times: &[Duration], percent: usize) -> u128 {
    let last = times.len() - 1;
    times[last * percent / 100].as_micros()
}
