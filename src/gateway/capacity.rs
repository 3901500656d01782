//! Limits on the clients of the node, and what happens at each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{address_rate::AddressRate, engine::Engine};
use crate::{
    config::Limits,
    label::labels,
    metrics::{
        CONNECTIONS, Counter, HANDSHAKES_IN_PROGRESS, LIMIT_REFUSALS, Level, UNJOINED_CONNECTIONS,
    },
    stream::ClientAddress,
    telemetry::{AUDIT, Episode},
};

/// How long after the last refusal at a limit the end of the refusals is logged.
const CALM: Duration = Duration::from_secs(60);
/// How often the node looks for such ends.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How much of a rate may be used at once.
const BURST: Duration = Duration::from_secs(1);

labels! {
    /// What the node limits; the label is the name of its setting, if it has one.
    pub(super) enum Limit {
        Connections => "connections",
        HandshakeRate => "handshake_rate",
        HandshakeRatePerAddress => "handshake_rate_per_address",
        Handshakes => "handshakes",
        OpenFiles => "open_files",
        SocketsPerUser => "sockets_per_user",
        UnjoinedConnections => "unjoined_connections",
    }
}

/// Counts what is limited.
pub(super) struct Capacity {
    /// Open connections, and those about to open.
    connections: Count,
    /// Those of them that have not joined, and TCP connections without a request.
    unjoined: Count,
    handshakes: Count,
    rate: Rate,
    address_rate: AddressRate,
    refusals: [(Counter, Episode); Limit::ALL.len()],
}

impl Capacity {
    pub(super) fn new() -> Self {
        let refusals = |limit: Limit| {
            let counter = LIMIT_REFUSALS.with_label_values(&[limit.label()]);
            (counter, Episode::new(CALM))
        };
        Self {
            connections: Count::new(&CONNECTIONS),
            unjoined: Count::new(&UNJOINED_CONNECTIONS),
            handshakes: Count::new(&HANDSHAKES_IN_PROGRESS),
            rate: Rate::new(),
            address_rate: AddressRate::default(),
            refusals: Limit::ALL.map(refusals),
        }
    }

    /// Counts a refusal, and logs the first of an episode.
    pub(super) fn refused(&self, limit: Limit, address: Option<ClientAddress>) {
        let (counter, episode) = &self.refusals[limit as usize];
        counter.inc();
        if !episode.begins(Instant::now().into_std()) {
            return;
        }
        match limit {
            Limit::OpenFiles => tracing::warn!(
                target: AUDIT,
                limit = limit.label(),
                "refusing clients, too many files are open; raise the limit: LimitNOFILE= in the unit, or ulimit -n"
            ),
            Limit::HandshakeRatePerAddress => tracing::warn!(
                target: AUDIT,
                limit = limit.label(),
                address = address.map(tracing::field::display),
                "refusing clients of an address at a limit; if it is your proxy's, list it in server.trusted_proxies, else raise the limit if many users share an address"
            ),
            _ => tracing::warn!(
                target: AUDIT,
                limit = limit.label(),
                "refusing clients at a limit; raise it under [limits], or add a node"
            ),
        }
    }

    /// Logs when clients are no longer refused, even if no further client comes.
    pub(super) async fn log_ends(self: Arc<Self>) {
        loop {
            sleep(CHECK_INTERVAL).await;
            let now = Instant::now().into_std();
            for (limit, (_, episode)) in Limit::ALL.iter().zip(&self.refusals) {
                if episode.ends(now) {
                    tracing::info!(target: AUDIT, limit = limit.label(), "no longer refusing clients at a limit");
                }
            }
        }
    }

    /// Counts a handshake until the guard is dropped.
    pub(super) fn begin_handshake(&self) -> HandshakeGuard<'_> {
        self.handshakes.add();
        HandshakeGuard(self)
    }

    /// A connection has joined.
    pub(super) fn joined(&self) {
        self.unjoined.subtract();
    }

    /// A connection has left the namespace but is still open.
    pub(super) fn left(&self) {
        self.unjoined.add();
    }

    /// A connection has ended.
    pub(super) fn ended(&self, had_joined: bool) {
        self.connections.subtract();
        if !had_joined {
            self.unjoined.subtract();
        }
    }

    fn acquire(&self, limits: &Limits, address: Option<ClientAddress>) -> Result<(), Limit> {
        if self.handshakes.get() >= limits.handshakes {
            return Err(Limit::Handshakes);
        }
        let limit = limits.connections.unwrap_or(usize::MAX);
        if !self.connections.take(limit) {
            return Err(Limit::Connections);
        }
        if !self.unjoined.take(limits.unjoined_connections) {
            self.connections.subtract();
            return Err(Limit::UnjoinedConnections);
        }
        // Last, because a rate cannot be given back.
        self.take_rate(limits, address)
            .inspect_err(|_| self.ended(false))
    }

    fn take_rate(&self, limits: &Limits, address: Option<ClientAddress>) -> Result<(), Limit> {
        let now = self.rate.started.elapsed();
        // First, so that refusals to one address do not use up the rate of all.
        if let (Some(limit), Some(address)) = (limits.handshake_rate_per_address, address) {
            let burst = limits.handshake_burst_per_address;
            if !self.address_rate.has_room(address.ip, now, limit, burst) {
                return Err(Limit::HandshakeRatePerAddress);
            }
        }
        if !self.rate.has_room(now, limits.handshake_rate) {
            return Err(Limit::HandshakeRate);
        }
        Ok(())
    }
}

/// A count of something, also shown as a metric.
struct Count {
    now: AtomicUsize,
    shown: Level,
}

impl Count {
    fn new(shown: &Level) -> Self {
        Self {
            now: AtomicUsize::new(0),
            shown: shown.clone(),
        }
    }

    fn get(&self) -> usize {
        self.now.load(Relaxed)
    }

    /// Adds one, unless the limit is reached.
    fn take(&self, limit: usize) -> bool {
        let next = |count| (count < limit).then_some(count + 1);
        let is_taken = self.now.fetch_update(Relaxed, Relaxed, next).is_ok();
        if is_taken {
            self.shown.inc();
        }
        is_taken
    }

    fn add(&self) {
        self.now.fetch_add(1, Relaxed);
        self.shown.inc();
    }

    fn subtract(&self) {
        self.now.fetch_sub(1, Relaxed);
        self.shown.dec();
    }
}

/// A handshake that is under way until this is dropped.
pub(super) struct HandshakeGuard<'a>(&'a Capacity);

impl Drop for HandshakeGuard<'_> {
    fn drop(&mut self) {
        self.0.handshakes.subtract();
    }
}

/// The right to open one connection, returned on drop if it was not used.
pub(super) struct Permit {
    engine: Option<Arc<Engine>>,
    pub(super) address: Option<ClientAddress>,
}

impl Permit {
    /// Acquires it for a client at this address.
    ///
    /// # Errors
    /// The limit that is reached; the refusal is counted.
    pub(super) fn acquire(
        engine: &Arc<Engine>,
        address: Option<ClientAddress>,
    ) -> Result<Self, Limit> {
        let capacity = &engine.capacity;
        capacity
            .acquire(&engine.current.load().limits, address)
            .inspect_err(|limit| capacity.refused(*limit, address))?;
        Ok(Self {
            engine: Some(engine.clone()),
            address,
        })
    }

    /// The connection is open, and counts until [`Capacity::ended`] is called for it.
    pub(super) fn keep(mut self) -> Arc<Engine> {
        self.engine.take().expect("it is taken only here")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(engine) = &self.engine {
            engine.capacity.ended(false);
        }
    }
}

/// A TCP connection without a request, counted as one that has not joined until this is dropped.
pub struct Arrival(Arc<Engine>);

impl Arrival {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        engine.capacity.unjoined.add();
        Self(engine.clone())
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.capacity.unjoined.subtract();
    }
}

/// Limits events per second (GCRA); a second's worth may come at once.
struct Rate {
    started: Instant,
    /// Until when the events let through so far use up the rate, in nanoseconds.
    paid_until: AtomicU64,
}

impl Rate {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            paid_until: AtomicU64::new(0),
        }
    }

    fn has_room(&self, now: Duration, per_second: usize) -> bool {
        // The time between two events in the long run.
        let step = BURST.as_nanos() as u64 / per_second.max(1) as u64;
        let now = now.as_nanos() as u64;
        let next = |paid: u64| {
            let paid = paid.max(now) + step;
            (paid <= now + BURST.as_nanos() as u64).then_some(paid)
        };
        self.paid_until.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::tests::engine;

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_episode_is_logged_even_if_no_client_comes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(file.reopen().unwrap());
        let log = tracing_subscriber::fmt().with_writer(writer).finish();
        let _log = tracing::subscriber::set_default(log);
        let ends = || {
            let text = std::fs::read_to_string(file.path()).unwrap();
            text.matches("no longer refusing clients at a limit")
                .count()
        };
        let engine = engine();
        engine.capacity.refused(Limit::Connections, None);
        tokio::time::sleep(CALM / 2).await;
        engine.capacity.refused(Limit::Connections, None);
        tokio::time::sleep(CALM / 2 + Duration::from_secs(15)).await;
        assert_eq!(ends(), 0);
        tokio::time::sleep(CALM).await;
        assert_eq!(ends(), 1);
        // The next one begins another episode.
        engine.capacity.refused(Limit::Connections, None);
        tokio::time::sleep(2 * CALM).await;
        assert_eq!(ends(), 2);
    }

    #[test]
    fn a_rate_lets_a_seconds_worth_through_at_once_and_then_one_step_by_step() {
        let rate = Rate::new();
        let passed = |millis| {
            let now = Duration::from_millis(millis);
            (0..10).filter(|_| rate.has_room(now, 4)).count()
        };
        assert_eq!(passed(0), 4);
        assert_eq!(passed(249), 0);
        assert_eq!(passed(250), 1);
        assert_eq!(passed(800), 2);
        assert_eq!(passed(60_000), 4);
    }
}
