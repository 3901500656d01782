//! How often things happen on a node, from its counters at two moments.

use serde::Serialize;

use crate::wire::NodeStatus;

/// Per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rates {
    pub(super) connections_opened: f64,
    pub(super) connections_ended: f64,
    pub(super) handshakes: f64,
    pub(super) handshakes_refused: f64,
    pub(super) emits: f64,
    pub(super) events_sent: f64,
    pub(super) received_bytes: f64,
    pub(super) sent_bytes: f64,
}

impl Rates {
    /// `None` if no time has passed in between.
    pub(super) fn between(before: &NodeStatus, now: &NodeStatus) -> Option<Self> {
        let passed = now.uptime_ms.checked_sub(before.uptime_ms)?;
        if passed == 0 {
            return None;
        }
        let (before, now) = (before.figures.totals, now.figures.totals);
        let rate = |before: u64, now: u64| {
            let rate = now.saturating_sub(before) as f64 * 1_000.0 / passed as f64;
            (rate * 100.0).round() / 100.0
        };
        Some(Self {
            connections_opened: rate(before.connections_opened, now.connections_opened),
            connections_ended: rate(before.connections_ended, now.connections_ended),
            handshakes: rate(before.handshakes, now.handshakes),
            handshakes_refused: rate(before.handshakes_refused, now.handshakes_refused),
            emits: rate(before.emits, now.emits),
            events_sent: rate(before.events_sent, now.events_sent),
            received_bytes: rate(before.received_bytes, now.received_bytes),
            sent_bytes: rate(before.sent_bytes, now.sent_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uptime_ms: u64, emits: u64) -> NodeStatus {
        let mut status = NodeStatus {
            uptime_ms,
            ..NodeStatus::default()
        };
        status.figures.totals.emits = emits;
        status
    }

    #[test]
    fn rates_are_per_second_by_the_clock_of_the_node() {
        let rates = Rates::between(&status(1_000, 10), &status(3_000, 25)).unwrap();
        assert_eq!((rates.emits, rates.handshakes), (7.5, 0.0));
        let rates = Rates::between(&status(1_000, 10), &status(4_000, 11)).unwrap();
        assert_eq!(rates.emits, 0.33);
        assert_eq!(Rates::between(&status(1_000, 1), &status(1_000, 2)), None);
        assert_eq!(Rates::between(&status(2_000, 1), &status(1_000, 2)), None);
    }
}
