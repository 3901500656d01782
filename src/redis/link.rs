//! A connection for commands that comes back by itself.

use std::{sync::Arc, time::Duration};

use ::redis::{PushInfo, PushKind};
use thiserror::Error;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, MissedTickBehavior, timeout},
};

use super::{Connection, chain, connect_with_pushes, connection::Pulse};
use crate::{config, lifecycle::Lifecycle};

/// The first pause between two attempts to connect; it doubles up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: with an attempt that hangs before it, Redis is found again within seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often an idle connection is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Pings without an answer after which a connection is given up: a frozen Redis keeps its
/// connections, a cut link does not get them back.
const LOST_PINGS: u32 = 3;

/// Pauses between attempts: doubling, with jitter so that many nodes do not come back as one.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    pub async fn pause(&mut self) {
        let ceiling = LONGEST_PAUSE.min(SHORTEST_PAUSE * 2_u32.saturating_pow(self.attempts));
        self.attempts = self.attempts.saturating_add(1);
        tokio::time::sleep(ceiling.mul_f64(0.5 + random_fraction() / 2.0)).await;
    }

    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// A number between 0 and 1, good enough for jitter.
fn random_fraction() -> f64 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    f64::from(bytes[0]) / 255.0
}

/// The command connection of this process, supervised: it is opened again whenever it ends.
#[derive(Debug, Clone)]
pub struct Link {
    /// With the time since when it is there.
    connection: watch::Receiver<Option<(Connection, Instant)>>,
    renewal: Arc<Notify>,
    pub config: Arc<config::Redis>,
}

/// There was no connection to Redis within the time that the caller had.
#[derive(Debug, Error)]
#[error("no connection to Redis")]
pub struct NotConnected;

impl Link {
    /// Starts to connect at once and goes on until the process ends.
    pub fn start(config: config::Redis, lifecycle: &Lifecycle) -> Self {
        let config = Arc::new(config);
        let (publish, connection) = watch::channel(None);
        let renewal = Arc::<Notify>::default();
        lifecycle.spawn(supervise(config.clone(), renewal.clone(), publish));
        Self {
            connection,
            renewal,
            config,
        }
    }

    /// The connection works, but not with the servers that it should: it is replaced by another.
    pub fn renew(&self) {
        self.renewal.notify_one();
    }

    /// The connection, waiting for one for as long as the caller lets it. Cancellation-safe.
    ///
    /// # Errors
    /// The process is ending.
    pub async fn connection(&self) -> Result<Connection, NotConnected> {
        let mut connection = self.connection.clone();
        let found = connection
            .wait_for(Option::is_some)
            .await
            .map_err(|_| NotConnected)?;
        found
            .as_ref()
            .map(|(connection, _)| connection.clone())
            .ok_or(NotConnected)
    }

    /// The connection, if there is one now.
    pub fn current(&self) -> Option<Connection> {
        let present = self.connection.borrow();
        present.as_ref().map(|(connection, _)| connection.clone())
    }

    /// Whether the present connection is younger: what failed on the one before says nothing of it.
    pub fn is_newer_than(&self, time: Instant) -> bool {
        let present = self.connection.borrow();
        present.as_ref().is_some_and(|(_, since)| *since > time)
    }
}

async fn supervise(
    config: Arc<config::Redis>,
    renewal: Arc<Notify>,
    publish: watch::Sender<Option<(Connection, Instant)>>,
) {
    let mut backoff = Backoff::default();
    let mut told = String::new();
    let at = config.topology.to_string();
    loop {
        let (ended, mut end) = mpsc::channel(1);
        let on_push = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                ended.try_send(()).ok();
            }
        };
        match connect_with_pushes(&config, Some(config.command_timeout), on_push).await {
            Ok(connection) => {
                tracing::info!(at, "connected to Redis");
                told.clear();
                let since = Instant::now();
                publish.send_replace(Some((connection.clone(), since)));
                let why = tokio::select! {
                    why = watch_over(connection.clone(), config.command_timeout, &mut end) => {
                        // One to a Cluster may still reach all masters but one.
                        if !connection.is_cluster() {
                            publish.send_replace(None);
                        }
                        why
                    }
                    // It serves until there is another.
                    () = renewal.notified() => "its view of the servers is old",
                };
                tracing::warn!(at, why, "lost the connection to Redis; connecting again");
                // A Redis that accepts and hangs up at once must not be hammered.
                if since.elapsed() > LONGEST_PAUSE {
                    backoff.reset();
                    continue;
                }
            }
            Err(error) => {
                publish.send_replace(None);
                let why = chain(&error);
                if why != told {
                    tracing::warn!(why, "cannot connect to Redis; trying on");
                    told = why;
                }
            }
        }
        backoff.pause().await;
    }
}

/// Resolves when the connection is lost, to how: its `end` was told, its signs of life stay away for
/// longer than the `limit` several times over, or it leads to a server that is not the master any
/// more.
pub async fn watch_over(
    mut connection: Connection,
    limit: Duration,
    end: &mut mpsc::Receiver<()>,
) -> &'static str {
    let mut tick = tokio::time::interval(PING_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The library's connection to a Cluster can stand still by itself when slots move under load.
    let tolerated = if connection.is_cluster() {
        1
    } else {
        LOST_PINGS
    };
    let mut lost = 0;
    while lost < tolerated {
        tokio::select! {
            _ = end.recv() => return "it was closed",
            _ = tick.tick() => {}
        }
        tokio::select! {
            _ = end.recv() => return "it was closed",
            pulse = timeout(limit, connection.pulse()) => match pulse.unwrap_or(Pulse::Missed) {
                Pulse::Beats => lost = 0,
                Pulse::Missed => lost += 1,
                Pulse::Demoted => return "it leads to a replica, and not to the master",
            },
        }
    }
    "it does not answer"
}
