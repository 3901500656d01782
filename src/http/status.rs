//! `GET /internal/status`: how this node is, or with `all=true` each node.

use axum::Json;
use url::form_urlencoded;

use super::Context;
use crate::{
    config::Limits,
    metrics::{self, figures},
    session::SessionStore,
    wire::{Figures, LimitStatus, NodeStatus, StatusAnswer},
};

pub(super) async fn answer(context: &Context, query: &str) -> Json<StatusAnswer> {
    let mut asked = form_urlencoded::parse(query.as_bytes());
    let asks_all = asked.any(|(key, value)| key == "all" && value != "false");
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
            limits: limits(&current.limits, &figures),
            figures,
        }
    }
}

fn limits(limits: &Limits, figures: &Figures) -> Vec<LimitStatus> {
    let refusals = figures::refusals();
    let size = |size: usize| Some(size as u64);
    let open_files = Some(figures.open_files_limit).filter(|limit| *limit > 0);
    [
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
    })
    .into()
}
