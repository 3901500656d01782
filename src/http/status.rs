//! `GET /internal/status`: how this node is, or with `all=true` each node.

use axum::Json;

use super::{Context, carried::Carrier};
use crate::{
    config::Limits,
    metrics::{self, INTERNAL_OVERLOADED, figures},
    open_files::{self, OpenFiles},
    session::SessionStore,
    wire::{Figures, LimitStatus, NodeStatus, StatusAnswer},
};

pub(super) async fn answer(context: &Context, asks_all: bool) -> Json<StatusAnswer> {
    Json(context.node.status(asks_all).await)
}

impl Context {
    /// How this process is.
    pub(super) fn status(&self) -> NodeStatus {
        let current = self.current.load();
        let mut reasons: Vec<String> = self.node.troubles().map(|why| why.to_string()).collect();
        reasons.extend(current.verifier.check().err().map(|why| why.to_string()));
        let figures = metrics::figures(self.present(reasons.is_empty()));
        let redis = match self.node.sessions() {
            SessionStore::Memory(_) => None,
            SessionStore::Redis(_) => Some(figures::redis()),
        };
        NodeStatus {
            uptime_ms: self.started.elapsed().as_millis() as u64,
            ready: reasons.is_empty(),
            reasons,
            redis,
            limits: limits(&current.limits, &self.carrier, &figures),
            figures,
        }
    }
}

/// Every limit that is one of the whole node, or that can refuse a client for its user or address.
fn limits(limits: &Limits, carrier: &Carrier, figures: &Figures) -> Vec<LimitStatus> {
    let refusals = figures::refusals();
    let size = |size: usize| Some(size as u64);
    let open_files = open_files::limit().map(|limit| OpenFiles::within(Some(limit)).clients);
    let rows = [
        (
            "connections",
            Some(figures.connections),
            limits.connections.and_then(size),
        ),
        (
            "unjoined_connections",
            Some(figures.unjoined_connections),
            size(limits.unjoined_connections),
        ),
        (
            "handshakes",
            Some(figures.handshakes_in_progress),
            size(limits.handshakes),
        ),
        // Clients are refused well before the process has used all.
        ("open_files", Some(figures.open_files), open_files),
        ("handshake_rate", None, size(limits.handshake_rate)),
        (
            "handshake_rate_per_address",
            None,
            limits.handshake_rate_per_address.and_then(size),
        ),
        (
            "sockets_per_user",
            None,
            limits.sockets_per_user.and_then(size),
        ),
    ]
    .map(|(limit, used, max)| LimitStatus {
        limit: limit.to_owned(),
        used,
        max,
        refused: refusals
            .iter()
            .find(|(known, _)| known == limit)
            .map_or(0, |(_, count)| *count),
    });
    let concurrency = LimitStatus {
        limit: "internal.concurrency".to_owned(),
        used: size(carrier.running()),
        max: size(carrier.max()),
        refused: INTERNAL_OVERLOADED.get(),
    };
    rows.into_iter().chain([concurrency]).collect()
}
