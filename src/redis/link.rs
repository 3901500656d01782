//! A connection for commands that is reopened when it is lost.

use std::{sync::Arc, time::Duration};

use ::redis::{PushInfo, PushKind};
use thiserror::Error;
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::{Instant, MissedTickBehavior, timeout},
};

use super::{Connection, connect_with_pushes, connection::Pulse, dialer::Dialer};
use crate::{
    config,
    error::chain,
    lifecycle::Lifecycle,
    metrics::{REDIS_CONNECTED, REDIS_RECONNECTS},
};

/// The first pause between two attempts to connect; it doubles up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: even after an attempt that hangs, Redis is found again within seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a connection is checked.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Unanswered pings after which a connection is dropped: after a network cut it does not recover, although
/// after a freeze of Redis it would.
const LOST_PINGS: u32 = 3;
/// Pings answered by a replica after which a connection that is kept for a while is dropped: following the
/// channels to their new master may take 1.6 s of pauses.
const DEMOTED_PINGS: u32 = 3;

/// Pauses between attempts: doubling, with jitter so that many nodes do not reconnect at once.
#[derive(Debug)]
pub struct Backoff {
    attempts: u32,
    dialer: Dialer,
}

impl Backoff {
    pub fn new(dialer: Dialer) -> Self {
        Self {
            attempts: 0,
            dialer,
        }
    }

    pub async fn pause(&mut self) {
        let ceiling = LONGEST_PAUSE.min(SHORTEST_PAUSE * 2_u32.saturating_pow(self.attempts));
        self.attempts = self.attempts.saturating_add(1);
        tokio::time::sleep(ceiling.mul_f64(0.5 + self.dialer.jitter() / 2.0)).await;
    }

    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// The command connection of this process, supervised: it is opened again whenever it ends.
#[derive(Debug, Clone)]
pub struct Link {
    state: watch::Receiver<State>,
    /// When a replacement was last requested.
    renewal: watch::Sender<Option<Instant>>,
    /// Callers that wait for a connection get it one after another.
    turn: Arc<Mutex<()>>,
    pub config: Arc<config::Redis>,
    pub dialer: Dialer,
}

#[derive(Debug, Default)]
struct State {
    /// And since when it is connected.
    connection: Option<(Connection, Instant)>,
    /// How many connections there have been.
    number: u64,
    /// The last server found was a replica, and no master has been found since. It can be read, so the
    /// connection is used, but what is written or published there may reach no other node.
    is_demoted: bool,
}

/// A snapshot of the link.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub connection: Option<&'a Connection>,
    /// The number of the connection, or of the lost one; a later connection has a higher number.
    pub number: u64,
    /// Whether it leads to a replica: other nodes may be using its master already.
    pub is_demoted: bool,
}

/// There was no connection to Redis before the caller's deadline.
#[derive(Debug, Error)]
#[error("no connection to Redis")]
pub struct NotConnected;

/// Redis is reachable, but is not a master.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "Redis at {at} is a replica, so sockd keeps looking for the master: wait for the failover to \
     end, or point redis.url to its master, which INFO replication names"
)]
pub struct Demoted {
    at: String,
}

impl Demoted {
    pub fn at(at: impl Into<String>) -> Self {
        Self { at: at.into() }
    }
}

impl Link {
    /// Starts to connect immediately, and stays connected until the process ends.
    pub fn start(config: config::Redis, dialer: Dialer, lifecycle: &Lifecycle) -> Self {
        let config = Arc::new(config);
        let (publish, state) = watch::channel(State::default());
        let renewal = watch::Sender::new(None);
        let asked = renewal.subscribe();
        lifecycle.spawn(supervise(config.clone(), dialer.clone(), asked, publish));
        Self {
            state,
            renewal,
            turn: Arc::default(),
            config,
            dialer,
        }
    }

    /// Replaces the connection, which works but leads to the wrong servers. It stays in use until then.
    pub fn renew(&self) {
        self.renewal.send_replace(Some(Instant::now()));
    }

    /// The connection; waits for one if there is none. Cancellation-safe.
    ///
    /// # Errors
    /// The process is ending.
    pub async fn connection(&self) -> Result<Connection, NotConnected> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let _turn = self.turn.lock().await;
        let mut state = self.state.clone();
        let found = state
            .wait_for(|state| state.connection.is_some())
            .await
            .map_err(|_| NotConnected)?;
        let found = found.connection.as_ref();
        found
            .map(|(connection, _)| connection.clone())
            .ok_or(NotConnected)
    }

    /// Reads a snapshot. The link is locked while `read` runs, so it must be short.
    pub fn view<T>(&self, read: impl FnOnce(View<'_>) -> T) -> T {
        let state = self.state.borrow();
        read(View {
            connection: state.connection.as_ref().map(|(one, _)| one),
            number: state.number,
            is_demoted: state.is_demoted,
        })
    }

    /// The connection, if there is one now.
    pub fn current(&self) -> Option<Connection> {
        self.view(|link| link.connection.cloned())
    }

    /// # Errors
    /// The server is a replica: other nodes may be using its master already.
    pub fn check_role(&self) -> Result<(), Demoted> {
        if self.view(|link| link.is_demoted) {
            return Err(self.demoted());
        }
        Ok(())
    }

    /// The error of [`Self::check_role`].
    pub fn demoted(&self) -> Demoted {
        Demoted::at(self.config.topology.to_string())
    }

    /// Connects again, and resolves once the connection leads to a master.
    async fn find_master(&self) {
        let asked = Instant::now();
        self.renew();
        let is_found = |state: &State| !state.is_demoted && state.is_newer_than(asked);
        self.state.clone().wait_for(is_found).await.ok();
    }
}

impl State {
    /// Whether the present connection is younger.
    fn is_newer_than(&self, time: Instant) -> bool {
        let present = self.connection.as_ref();
        present.is_some_and(|(_, since)| *since > time)
    }
}

async fn supervise(
    config: Arc<config::Redis>,
    dialer: Dialer,
    mut renewal: watch::Receiver<Option<Instant>>,
    publish: watch::Sender<State>,
) {
    let connected = REDIS_CONNECTED.with_label_values(&["commands"]);
    let reconnects = REDIS_RECONNECTS.with_label_values(&["commands"]);
    let mut backoff = Backoff::new(dialer.clone());
    let mut logged = String::new();
    let at = config.topology.to_string();
    loop {
        let (ended, mut end) = mpsc::channel(1);
        let on_push = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                ended.try_send(()).ok();
            }
        };
        match connect_with_pushes(&config, &dialer, Some(config.command_timeout), on_push).await {
            Ok(mut connection) => {
                // Before anyone uses it.
                let pulse = timeout(config.command_timeout, connection.pulse()).await;
                let is_demoted = pulse == Ok(Pulse::Demoted);
                let since = Instant::now();
                publish.send_modify(|state| {
                    *state = State {
                        connection: Some((connection.clone(), since)),
                        number: state.number + 1,
                        is_demoted,
                    };
                });
                if is_demoted {
                    let why = Demoted::at(&*at).to_string();
                    log_once(&mut logged, why);
                } else {
                    connected.set(1);
                    tracing::info!(at, "connected to Redis");
                    logged.clear();
                    let why = tokio::select! {
                        biased;
                        lost = watch_over(connection.clone(), config.command_timeout, &mut end, OnDemotion::Lost) => {
                            publish.send_modify(|state| match lost {
                                Lost::Demoted => state.is_demoted = true,
                                // A connection to a Cluster may still reach the other masters.
                                Lost::Closed | Lost::Silent if connection.is_cluster() => {}
                                Lost::Closed | Lost::Silent => state.connection = None,
                            });
                            lost.why()
                        }
                        // It stays in use until there is a new one.
                        _ = renewal.wait_for(|asked| *asked > Some(since)) => {
                            "its view of the servers is outdated"
                        }
                    };
                    connected.set(0);
                    reconnects.inc();
                    tracing::warn!(at, why, "lost the connection to Redis, connecting again");
                    // A Redis that accepts and closes at once must not be flooded with attempts.
                    if since.elapsed() > LONGEST_PAUSE {
                        backoff.reset();
                        continue;
                    }
                }
            }
            Err(error) => {
                publish.send_modify(|state| state.connection = None);
                log_once(&mut logged, chain(&error));
            }
        }
        backoff.pause().await;
    }
}

/// Logs why there is no master, unless the last line already said so.
fn log_once(logged: &mut String, why: String) {
    if why != *logged {
        tracing::warn!(why, "cannot connect to Redis, retrying");
        *logged = why;
    }
}

/// How a connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    Closed,
    Silent,
    Demoted,
}

impl Lost {
    pub fn why(self) -> &'static str {
        match self {
            Self::Closed => "it was closed",
            Self::Silent => "it does not answer",
            Self::Demoted => "it leads to a replica, and not to the master",
        }
    }
}

/// What happens to a connection whose server is demoted to a replica.
#[derive(Debug, Clone, Copy)]
pub enum OnDemotion<'a> {
    Lost,
    /// It is kept until this link has found a master.
    KeptUntilMaster(&'a Link),
    /// It is kept for some pings. A master in a Cluster ends its subscriptions when it is demoted, so the
    /// connection is usually no longer needed by then.
    KeptForAWhile,
}

/// Resolves when the connection is lost, and returns how: its `end` was reported, several pings in a row had
/// no answer within the `limit`, or it leads to a replica.
pub async fn watch_over(
    mut connection: Connection,
    limit: Duration,
    end: &mut mpsc::Receiver<()>,
    on_demotion: OnDemotion<'_>,
) -> Lost {
    let mut tick = tokio::time::interval(PING_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The library's connection to a Cluster can stall by itself when slots move under load.
    let tolerated = if connection.is_cluster() {
        1
    } else {
        LOST_PINGS
    };
    let (mut lost, mut demoted) = (0, 0);
    while lost < tolerated {
        tokio::select! {
            biased;
            _ = end.recv() => return Lost::Closed,
            _ = tick.tick() => {}
        }
        tokio::select! {
            biased;
            _ = end.recv() => return Lost::Closed,
            pulse = timeout(limit, connection.pulse()) => match pulse.unwrap_or(Pulse::Missed) {
                Pulse::Beats => (lost, demoted) = (0, 0),
                Pulse::Missed => lost += 1,
                Pulse::Demoted => {
                    (lost, demoted) = (0, demoted + 1);
                    match on_demotion {
                        OnDemotion::Lost => return Lost::Demoted,
                        OnDemotion::KeptUntilMaster(link) => {
                            tokio::select! {
                                biased;
                                _ = end.recv() => return Lost::Closed,
                                () = link.find_master() => return Lost::Demoted,
                            }
                        }
                        OnDemotion::KeptForAWhile if demoted < DEMOTED_PINGS => {}
                        OnDemotion::KeptForAWhile => return Lost::Demoted,
                    }
                }
            },
        }
    }
    Lost::Silent
}
