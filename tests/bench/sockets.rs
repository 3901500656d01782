//! What a socket and an event cost, in sockd, in the same server on the stock framework of Rust, and
//! in the same server written in Node.
//!
//! `cargo bench --bench sockets` starts one server after the other, with sessions in memory, and
//! sockd once more with sessions in Redis, and once with TLS. Each gets the same work, one step
//! after the other:
//!
//! 1. `SOCKETS` WebSocket clients, one a user, join and stay idle;
//! 2. `EVENTS` events are pushed as fast as 32 callers can;
//! 3. [`ALONE`] events are pushed, each after the one before has come;
//! 4. [`PACED`] events are pushed at 2,000 a second, which leaves the server mostly idle;
//! 5. [`LOGOUTS`] users are logged out, one after the other;
//! 6. all connections are cut, and half of the clients come back at once;
//! 7. all leave for good, and [`REST`] later memory is looked at;
//! 8. [`CROWD`] clients of one user join, and get [`CROWD_EVENTS`] events each.
//!
//! Memory is the server's resident set, CPU the time that the system charged to it, in user space and
//! in the kernel. Clients and callers run beside it on the same cores. Compare the columns of one run:
//! figures of two machines, or of two moments, say little.

mod framework;
mod load;
mod server;

use std::time::{Duration, Instant};

use load::Load;
use server::{Redis, Server};
use tokio::time::sleep;

/// The framework's server has the allocator of sockd.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SOCKETS: usize = 10_000;
const EVENTS: usize = 50_000;
const ALONE: usize = 2_000;
const PACED: usize = 10_000;
const LOGOUTS: usize = 300;
const REST: Duration = Duration::from_secs(30);
const CROWD: usize = 1_000;
const CROWD_EVENTS: usize = 100;

/// What one server was measured to cost.
struct Costs {
    started_kib: u64,
    loaded_kib: u64,
    kib_per_socket: f64,
    handshake_cpu: Duration,
    event_cpu: Duration,
    events_per_second: f64,
    median: Duration,
    slowest_of_100: Duration,
    paced_cpu: Duration,
    /// `None` for a server that cannot end a connection.
    logout: Option<Duration>,
    back: Duration,
    kept_kib: u64,
    delivery_cpu: Duration,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The framework's server is this program once more. Cargo passes --bench; a filter or a list of
    // tests means nothing here.
    if std::env::args().nth(1).as_deref() == Some(Server::FRAMEWORK) {
        return framework::serve().await;
    }
    let sockets = count("SOCKETS", SOCKETS)?;
    let events = count("EVENTS", EVENTS)?;
    let redis = Redis::start().await?;
    let measure = async |server| measure(server, sockets, events).await;
    let columns = [
        ("sockd", measure(Server::sockd().await?).await?),
        (
            "sockd, Redis",
            measure(Server::sockd_with_redis(&redis).await?).await?,
        ),
        (
            "sockd, TLS",
            measure(Server::sockd_with_tls().await?).await?,
        ),
        (
            "stock framework",
            measure(Server::framework().await?).await?,
        ),
        ("Node", measure(Server::node().await?).await?),
    ];
    report(sockets, events, &columns);
    Ok(())
}

/// A count that the environment may change.
fn count(name: &str, default: usize) -> anyhow::Result<usize> {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .map_err(|_| anyhow::anyhow!("{name}={text} is not a number of {name}")),
        Err(_) => Ok(default),
    }
}

async fn measure(server: Server, sockets: usize, events: usize) -> anyhow::Result<Costs> {
    // The first sockets pay for what all share, such as compiled code and the allocator's arenas.
    let warm = Load::connect(&server, 100).await?;
    warm.push(&server, 1_000).await?;
    drop(warm);
    server.is_idle().await?;
    let started_kib = server.resident_kib()?;

    let cpu = server.cpu()?;
    let load = Load::connect(&server, sockets).await?;
    let handshake_cpu = (server.cpu()? - cpu) / u32::try_from(sockets)?;
    server.is_idle().await?;
    let loaded_kib = server.resident_kib()?;
    let grown = loaded_kib.saturating_sub(started_kib);

    let (cpu, begun) = (server.cpu()?, Instant::now());
    load.push(&server, events).await?;
    let elapsed = begun.elapsed();
    let event_cpu = (server.cpu()? - cpu) / u32::try_from(events)?;

    let times = sorted(load.push_alone(&server, ALONE).await?);

    let cpu = server.cpu()?;
    load.push_paced(&server, PACED).await?;
    let paced_cpu = (server.cpu()? - cpu) / PACED as u32;

    let mut load = load;
    let logout = if server.ends_connections {
        let times = sorted(load.log_out(&server, LOGOUTS.min(sockets / 2)).await?);
        Some(times[times.len() / 2])
    } else {
        None
    };
    let (load, back) = load.reconnect(&server, sockets / 2).await?;
    drop(load);
    sleep(REST).await;
    let kept_kib = server.resident_kib()?.saturating_sub(started_kib);

    let crowd = Load::connect_crowd(&server, CROWD).await?;
    let cpu = server.cpu()?;
    crowd.push_to_crowd(&server, CROWD_EVENTS).await?;
    let delivery_cpu = (server.cpu()? - cpu) / (CROWD * CROWD_EVENTS) as u32;
    Ok(Costs {
        started_kib,
        loaded_kib,
        kib_per_socket: grown as f64 / sockets as f64,
        handshake_cpu,
        event_cpu,
        events_per_second: events as f64 / elapsed.as_secs_f64(),
        median: times[times.len() / 2],
        slowest_of_100: times[times.len() * 99 / 100],
        paced_cpu,
        logout,
        back,
        kept_kib,
        delivery_cpu,
    })
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

/// A line of the report: its name, how it is found, and how many digits are worth telling.
type Row = (&'static str, fn(&Costs) -> Option<f64>, usize);

const ROWS: [Row; 13] = [
    ("memory before the sockets, MiB", |c| mib(c.started_kib), 1),
    ("memory per idle socket, KiB", |c| Some(c.kib_per_socket), 1),
    ("memory with all sockets, MiB", |c| mib(c.loaded_kib), 1),
    (
        "memory kept 30 s after all have left, MiB",
        |c| mib(c.kept_kib),
        1,
    ),
    ("CPU per handshake, us", |c| micros(c.handshake_cpu), 0),
    ("CPU per event, 32 callers, us", |c| micros(c.event_cpu), 0),
    (
        "CPU per event, 2,000 a second, us",
        |c| micros(c.paced_cpu),
        0,
    ),
    (
        "CPU per delivery, 1,000 sockets of one user, us",
        |c| micros(c.delivery_cpu),
        1,
    ),
    (
        "events per second, 32 callers",
        |c| Some(c.events_per_second),
        0,
    ),
    ("one event alone, median, us", |c| micros(c.median), 0),
    (
        "one event alone, 99 of 100 within, us",
        |c| micros(c.slowest_of_100),
        0,
    ),
    (
        "from logout to closed, median, us",
        |c| c.logout.and_then(micros),
        0,
    ),
    (
        "half of the sockets back at once, ms",
        |c| Some(c.back.as_secs_f64() * 1e3),
        0,
    ),
];

#[expect(clippy::print_stdout, reason = "the report is what a benchmark is for")]
fn report(sockets: usize, events: usize, columns: &[(&str, Costs)]) {
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    println!(
        "| {sockets} sockets, {events} events | {} |",
        names.join(" | ")
    );
    println!("|---|{}", "---:|".repeat(columns.len()));
    for (name, of, digits) in ROWS {
        let figures = columns.iter().map(|(_, costs)| of(costs));
        let cell = |figure| match figure {
            Some(figure) => format!("{figure:.digits$}"),
            None => "-".to_owned(),
        };
        let figures: Vec<_> = figures.map(cell).collect();
        println!("| {name} | {} |", figures.join(" | "));
    }
}

fn mib(kib: u64) -> Option<f64> {
    Some(kib as f64 / 1_024.0)
}

fn micros(time: Duration) -> Option<f64> {
    Some(time.as_secs_f64() * 1e6)
}
