//! What a node says about itself, to operators and to the node that an operator has asked.

use serde::{Deserialize, Serialize};

use super::Answered;
use crate::id::NodeId;

/// The status of a node. What a node of an older release does not report is zero, or absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatus {
    pub uptime_ms: u64,
    pub ready: bool,
    /// Everything that keeps it from being ready.
    pub reasons: Vec<String>,
    pub figures: Figures,
    /// Absent with sessions in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStatus>,
    pub limits: Vec<LimitStatus>,
}

/// Figures of `/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Figures {
    pub sockets: u64,
    pub websocket: u64,
    pub polling: u64,
    pub connections: u64,
    pub unjoined_connections: u64,
    pub handshakes_in_progress: u64,
    pub resident_memory_bytes: u64,
    pub open_files: u64,
    pub open_files_limit: u64,
    pub totals: Totals,
}

/// What has happened since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Totals {
    pub connections_opened: u64,
    pub connections_ended: u64,
    pub handshakes: u64,
    pub handshakes_refused: u64,
    pub emits: u64,
    pub events_sent: u64,
    pub events_dropped: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
}

/// The links to Redis.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RedisStatus {
    pub commands_connected: bool,
    pub subscriber_connected: bool,
    pub reconnects: u64,
    /// The messages of the node to itself that have returned, and how long they took in all.
    pub round_trips: u64,
    pub round_trip_seconds: f64,
}

/// One of the node's limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LimitStatus {
    pub limit: String,
    /// How much of it is used; absent for a rate, and for limits of one user or address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// `None` if it is off.
    pub max: Option<u64>,
    /// How often it has refused a client or a caller.
    pub refused: u64,
}

/// A node that was asked for its status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusRow {
    pub node: NodeId,
    pub release: String,
    pub answered: Answered,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<NodeStatus>,
}

/// The answer to `GET /internal/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusAnswer {
    pub ok: bool,
    /// Whether every node that was to be asked has answered, and there can be no other.
    pub complete: bool,
    /// Why there may be nodes that were not asked: the node that answers is not ready on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The node that answers, then the others.
    pub nodes: Vec<StatusRow>,
}
