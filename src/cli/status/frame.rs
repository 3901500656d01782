//! The status of nodes for people.

use std::{fmt::Write as _, io::stdout};

use indicatif::{BinaryBytes, HumanCount};

use super::{Node, Status, rates::Rates};
use crate::{
    cli::output::{self, Colour, paint},
    wire::{Figures, LimitStatus, NodeStatus, RedisStatus},
};

/// The part of a limit from which on it is shown, in hundredths.
const NEAR: f64 = 80.0;

pub(super) fn frame(status: &Status<'_>) -> String {
    let mut blocks: Vec<String> = status.nodes.iter().map(block).collect();
    if let Some(reason) = status.reason {
        let reason = output::visible(reason);
        blocks.push(format!(
            "other nodes may be missing, as the node that was asked is not ready: {reason}"
        ));
    }
    blocks.join("\n\n")
}

fn block(node: &Node<'_>) -> String {
    let row = node.row;
    let Some(status) = &row.status else {
        let why = output::unanswered(&row.node, &row.release, row.answered);
        return why.unwrap_or_else(|| format!("node {} does not say how it is", row.node));
    };
    let mut text = String::new();
    for (name, line) in [
        ("node", identity(node, status)),
        ("ready", readiness(status)),
        ("sockets", sockets(&status.figures)),
        ("rates", node.rates.as_ref().map_or("?".to_owned(), rates)),
        (
            "redis",
            status
                .redis
                .as_ref()
                .map_or("none, sessions are in memory".to_owned(), redis),
        ),
        ("limits", limits(status, node.rates.as_ref())),
    ] {
        // A string takes everything.
        writeln!(text, "{name:8} {line}").ok();
    }
    text.trim_end().to_owned()
}

fn identity(node: &Node<'_>, status: &NodeStatus) -> String {
    let Figures {
        resident_memory_bytes,
        ..
    } = status.figures;
    format!(
        "{}, sockd {}, up {}, {} of memory",
        output::visible(node.row.node.as_str()),
        output::visible(&node.row.release),
        output::span(status.uptime_ms / 1_000),
        BinaryBytes(resident_memory_bytes),
    )
}

fn readiness(status: &NodeStatus) -> String {
    if status.ready {
        return paint("yes", Colour::Green, &stdout()).into_owned();
    }
    let no = paint("no", Colour::Red, &stdout());
    format!("{no}: {}", output::visible(&status.reasons.join("; ")))
}

fn sockets(figures: &Figures) -> String {
    format!(
        "{}: {} websocket, {} polling; {} connections",
        HumanCount(figures.sockets),
        HumanCount(figures.websocket),
        HumanCount(figures.polling),
        HumanCount(figures.connections),
    )
}

fn rates(rates: &Rates) -> String {
    let bytes = |rate: f64| BinaryBytes(rate as u64);
    format!(
        "per second: {} connections, {} handshakes ({} refused), {} emits, {} events to sockets, {} in, {} out",
        rates.connections_opened,
        rates.handshakes,
        rates.handshakes_refused,
        rates.emits,
        rates.events_sent,
        bytes(rates.received_bytes),
        bytes(rates.sent_bytes),
    )
}

fn redis(redis: &RedisStatus) -> String {
    let link = match (redis.commands_connected, redis.subscriber_connected) {
        (true, true) => "connected",
        (true, false) => "connected for commands, but not subscribed",
        (false, true) => "subscribed, but not connected for commands",
        (false, false) => "not connected",
    };
    let round_trip = if redis.round_trips == 0 {
        String::new()
    } else {
        let mean = redis.round_trip_seconds * 1_000.0 / redis.round_trips as f64;
        format!(", round trip {mean:.1} ms")
    };
    format!(
        "{link}{round_trip}, {} reconnects",
        HumanCount(redis.reconnects)
    )
}

fn limits(status: &NodeStatus, rates: Option<&Rates>) -> String {
    let mut near: Vec<String> = Vec::new();
    for limit in &status.limits {
        let name = output::visible(&limit.limit);
        if let Some((used, part)) = part(limit, rates)
            && part >= NEAR
        {
            let max = HumanCount(limit.max.unwrap_or_default());
            let text = format!("{name} at {part:.0} %: {} of {max}", HumanCount(used));
            near.push(paint(&text, Colour::Yellow, &stdout()).into_owned());
        }
        if limit.refused > 0 {
            near.push(format!("{name} has refused {}", HumanCount(limit.refused)));
        }
    }
    if near.is_empty() {
        "none is near".to_owned()
    } else {
        near.join("; ")
    }
}

/// How much of the limit is used, also in hundredths of it.
fn part(limit: &LimitStatus, rates: Option<&Rates>) -> Option<(u64, f64)> {
    let used = match limit.limit.as_str() {
        "handshake_rate" => rates?.connections_opened as u64,
        _ => limit.used?,
    };
    let max = limit.max.filter(|max| *max > 0)?;
    Some((used, used as f64 * 100.0 / max as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::NodeId,
        wire::{Answered, StatusRow},
    };

    fn limit(name: &str, used: u64, max: Option<u64>, refused: u64) -> LimitStatus {
        LimitStatus {
            limit: name.to_owned(),
            used: Some(used),
            max,
            refused,
        }
    }

    #[test]
    fn limits_are_shown_near_their_ends_and_where_they_have_refused_somebody() {
        let shown = |limit| {
            let status = NodeStatus {
                limits: vec![limit],
                ..NodeStatus::default()
            };
            limits(&status, None)
        };
        assert_eq!(shown(limit("a", 79, Some(100), 0)), "none is near");
        assert_eq!(shown(limit("a", 1_000, None, 0)), "none is near");
        assert_eq!(shown(limit("a", 80, Some(100), 0)), "a at 80 %: 80 of 100");
        let both = "a at 100 %: 1,000 of 1,000; a has refused 2";
        assert_eq!(shown(limit("a", 1_000, Some(1_000), 2)), both);
        assert_eq!(
            shown(limit("handshake_rate", 9, Some(9), 0)),
            "none is near"
        );
    }

    #[test]
    fn a_node_cannot_send_control_sequences_to_the_terminal() {
        let row = StatusRow {
            node: NodeId::try_from("n").unwrap(),
            release: "\u{1b}[2J".to_owned(),
            answered: Answered::Yes,
            status: Some(NodeStatus {
                reasons: vec!["\u{1b}[2J".to_owned()],
                limits: vec![limit("\u{1b}", 1, Some(1), 1)],
                ..NodeStatus::default()
            }),
        };
        let node = Node {
            row: &row,
            rates: None,
        };
        let text = block(&node);
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
