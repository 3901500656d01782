//! Closes connections so that their clients reconnect, mostly to other nodes: all of them when the
//! process ends, or the oldest ones for `sockd drain`. Clients see a lost transport and reconnect by
//! themselves.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    task::consume_budget,
    time::{Instant, sleep, sleep_until},
};

use super::{Gateway, connection::Ending, registry::Sid};
use crate::{
    lifecycle::MoveRequest,
    wire::{DrainAnswer, Share},
};

/// The shortest time between two batches.
const STEP: Duration = Duration::from_millis(100);
/// The fewest connections that the end of the process closes per step, so that a small server drains at
/// once.
const LEAST_BATCH: usize = 50;

impl Gateway {
    /// Closes all connections, spread over the window so that their clients do not all reconnect to
    /// the other nodes at once.
    pub async fn drain(&self, window: Duration) {
        let (sids, _) = self.oldest(Share::ALL);
        let steps = sids.len().div_ceil(LEAST_BATCH).try_into();
        let window = window.min(STEP.saturating_mul(steps.unwrap_or(u32::MAX)));
        self.end_spread(&sids, Ending::Draining, window).await;
        // Time for the last clients to answer the close frame: if the process ended now, they would be reset.
        sleep(STEP).await;
        // Each of these connections has its own time limit.
        let registry = &self.engine.registry;
        while registry.list().iter().any(|left| left.has_last_packets()) {
            sleep(STEP).await;
        }
    }

    /// Closes the oldest connections on request. A new request replaces what is left of the previous
    /// one.
    pub async fn move_connections(self, mut requests: mpsc::Receiver<MoveRequest>) {
        let lifecycle = &self.engine.lifecycle;
        let mut next = requests.recv().await;
        while let Some(request) = next {
            let MoveRequest {
                share,
                over,
                answer,
            } = request;
            if lifecycle.is_draining() {
                drop(answer);
                next = requests.recv().await;
                continue;
            }
            let (sids, connections) = self.oldest(share);
            let closing = sids.len();
            let told = DrainAnswer {
                ok: true,
                connections,
                closing,
            };
            // The caller may have hung up, which changes nothing.
            answer.send(told).ok();
            let end = self.end_spread(&sids, Ending::Moved, over);
            next = tokio::select! {
                ended = lifecycle.until_drained(end) => {
                    if ended.is_some() && closing > 0 {
                        tracing::info!(closing, "closed connections for sockd drain");
                    }
                    requests.recv().await
                }
                request = requests.recv() => {
                    tracing::info!("a new sockd drain replaces the previous one");
                    request
                }
            };
        }
    }

    /// A share of the open connections, and how many are open in all. Those that joined first are taken, so
    /// that clients that have just come from another node stay.
    fn oldest(&self, share: Share) -> (Vec<Sid>, usize) {
        let connections = self.engine.registry.list();
        let open = connections
            .iter()
            .filter_map(|connection| Some((connection.joined_at()?, *connection.sid())));
        let mut open: Vec<_> = open.collect();
        open.sort_unstable_by_key(|(joined_at, _)| *joined_at);
        let sids = open.iter().map(|(_, sid)| *sid);
        (sids.take(share.of(open.len())).collect(), open.len())
    }

    /// Ends these connections, spread over the window. Only their sids are kept, so that a connection that
    /// ends by itself costs nothing more.
    async fn end_spread(&self, sids: &[Sid], ending: Ending, window: Duration) {
        let steps = (window.as_millis() / STEP.as_millis()).max(1);
        let batch = sids.len().div_ceil(steps as usize).max(1);
        let batches = sids.len().div_ceil(batch) as u32;
        let began = Instant::now();
        for (number, batch) in (0..).zip(sids.chunks(batch)) {
            sleep_until(began + window * number / batches).await;
            for sid in batch {
                if let Some(connection) = self.engine.registry.find(sid.as_str()) {
                    connection.end(ending);
                }
                // A batch can hold all connections of a node, and other tasks need the thread.
                consume_budget().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;
    use crate::gateway::{
        connection::{Connection, tests::joined},
        tests::{engine, permit},
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// A gateway with polling clients that joined a tenth of a second apart.
    async fn crowd(count: usize) -> (Gateway, Vec<Arc<Connection>>) {
        let gateway = Gateway {
            engine: engine(),
            body_timeout: SECOND,
        };
        let mut connections = Vec::new();
        for _ in 0..count {
            connections.push(joined(&gateway.engine));
            sleep(SECOND / 10).await;
        }
        (gateway, connections)
    }

    fn open(connections: &[Arc<Connection>]) -> Vec<bool> {
        let open = connections.iter().map(|connection| connection.is_open());
        open.collect()
    }

    async fn ask(
        moves: &mpsc::Sender<MoveRequest>,
        share: f64,
        over: Duration,
    ) -> Option<(usize, usize)> {
        let (answer, answered) = oneshot::channel();
        let request = MoveRequest {
            share: Share::try_from(share).expect("a share"),
            over,
            answer,
        };
        moves.send(request).await.expect("it is taken");
        let DrainAnswer {
            connections,
            closing,
            ..
        } = answered.await.ok()?;
        Some((closing, connections))
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_oldest_are_closed_spread_over_the_time() {
        let (gateway, connections) = crowd(10).await;
        let (moves, requests) = mpsc::channel(1);
        tokio::spawn(gateway.clone().move_connections(requests));
        assert_eq!(ask(&moves, 0.3, 3 * SECOND).await, Some((3, 10)));
        // One that comes in the meantime stays.
        let late = joined(&gateway.engine);
        for closed in 1..=3 {
            sleep(SECOND / 2).await;
            let expected: Vec<_> = (0..10).map(|number| number >= closed).collect();
            assert_eq!(open(&connections), expected);
            sleep(SECOND / 2).await;
        }
        sleep(5 * SECOND).await;
        assert!(late.is_open());
        // At once; those that have not joined are the youngest.
        let unjoined = Connection::open_polling(permit(&gateway.engine), None);
        assert_eq!(ask(&moves, 0.9, Duration::ZERO).await, Some((8, 9)));
        sleep(SECOND / 100).await;
        assert_eq!(gateway.engine.registry.list().len(), 1);
        assert!(unjoined.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn many_are_closed_in_batches_within_the_time() {
        let (gateway, _) = crowd(0).await;
        let connections: Vec<_> = (0..1_000).map(|_| joined(&gateway.engine)).collect();
        let (moves, requests) = mpsc::channel(1);
        tokio::spawn(gateway.clone().move_connections(requests));
        assert_eq!(ask(&moves, 0.9, 9 * SECOND).await, Some((900, 1_000)));
        for second in 0..9 {
            sleep(SECOND / 2).await;
            let closed = open(&connections).iter().filter(|open| !**open).count();
            let exact = 100 * second + 50;
            assert!(closed.abs_diff(exact) <= 20, "{closed} after {second} s");
            sleep(SECOND / 2).await;
        }
        assert_eq!(gateway.engine.registry.list().len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_request_replaces_the_previous_one() {
        let (gateway, connections) = crowd(10).await;
        let (moves, requests) = mpsc::channel(1);
        tokio::spawn(gateway.clone().move_connections(requests));
        assert_eq!(ask(&moves, 1.0, 10 * SECOND).await, Some((10, 10)));
        sleep(SECOND / 2).await;
        assert_eq!(ask(&moves, 0.0, SECOND).await, Some((0, 9)));
        sleep(10 * SECOND).await;
        let left: Vec<_> = (0..10).map(|number| number > 0).collect();
        assert_eq!(open(&connections), left);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_shuts_down_takes_no_request_and_closes_all() {
        let (gateway, connections) = crowd(10).await;
        let (moves, requests) = mpsc::channel(1);
        tokio::spawn(gateway.clone().move_connections(requests));
        assert_eq!(ask(&moves, 0.2, 3_600 * SECOND).await, Some((2, 10)));
        gateway.engine.lifecycle.drain();
        assert_eq!(ask(&moves, 1.0, SECOND).await, None);
        gateway.drain(5 * SECOND).await;
        assert!(!open(&connections).contains(&true));
    }
}
