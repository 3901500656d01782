//! What sockd may do otherwise than the server in Node, and why.
//!
//! Each rule's name is a row of the table in docs/moving-from-typescript.md, and each row of that
//! table is a rule. A rule that no fixed seed needs must be removed.

use std::slice;

use serde_json::Value;

use super::{
    comparison::{Before, Pair},
    conversation::{Frames, Leaving, Packet, Step, Upgrade, name},
    packets::MISPLACED,
    player::Seen,
};

pub struct Rule {
    /// The first column of its row in that table.
    pub name: &'static str,
    pub why: &'static str,
    pub allows: Allows,
}

pub enum Allows {
    /// Removes the difference from both sides; the rest is compared.
    Apart(fn(Option<&Step>, &mut Pair)),
    /// From here on the two servers are in different states, so the comparison ends.
    FromHereOn(fn(Option<&Step>, &Before, &Pair) -> bool),
}

const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;

/// What sockd does on purpose.
pub const RULES: &[Rule] = &[
    Rule {
        name: "a session that ends between two polls",
        why: "nothing is kept for a client that has been closed",
        allows: Allows::Apart(|step, pair| {
            pair.on_both(drop_close_packets);
            let Some((client, _)) = sent(step) else {
                return;
            };
            if pair.ends(client) {
                let sockd = pair.sockd.clone();
                let is_packet = |seen: &Seen| seen.what.starts_with('4');
                pair.node
                    .retain(|seen| !is_packet(seen) || sockd.contains(seen));
            }
        }),
    },
    Rule {
        name: "a POST that cannot be read",
        why: "its sender is told so",
        allows: Allows::Apart(|step, pair| {
            if let Some((client, _)) = sent(step)
                && pair.ends(client)
            {
                let refused = format!("post: 400 {BAD_REQUEST}");
                replace(&mut pair.sockd, &refused, "post: 200 ok");
            }
        }),
    },
    Rule {
        name: "a request of a session that is refused",
        why: "its sender is told why",
        allows: Allows::Apart(|step, pair| {
            if !matches!(step, Some(Step::Request(..))) {
                return;
            }
            for (node, sockd) in pair.node.iter().zip(&mut pair.sockd) {
                let told = sockd.what.split_once(": ").map(|(_, told)| told);
                let refused = ["400", "500", "no answer"];
                let untold = match told {
                    Some(told) if told == format!("400 {BAD_REQUEST}") => &refused[..],
                    Some(r#"413 {"ok":false,"error":"PAYLOAD_TOO_LARGE"}"#) => &["413"],
                    _ => continue,
                };
                let is_untold = |told: &&str| node.what.ends_with(&format!(": {told}"));
                if untold.iter().any(is_untold) {
                    sockd.what.clone_from(&node.what);
                }
            }
        }),
    },
    Rule {
        name: "the payload of an event",
        why: "it is passed on as it was written",
        allows: Allows::Apart(|_, pair| pair.on_both(read_payloads)),
    },
    Rule {
        name: "a second CONNECT on a connection",
        why: "it does no harm, so the socket stays, and there is only one",
        allows: Allows::FromHereOn(|step, before, pair| {
            let Some((client, packets)) = sent(step) else {
                return false;
            };
            let connects = count(packets, is_connect) + usize::from(before.joined[client]);
            let is_second = connects > 1 && count(packets, is_connect) > 0;
            let answers = |seen: &[Seen]| {
                let is_answer = |what: &str| what.starts_with("40{") || what.starts_with("44{");
                seen.iter().filter(|seen| is_answer(&seen.what)).count()
            };
            let is_ignored = answers(&pair.node) > answers(&pair.sockd);
            is_second && (pair.node_alone_ends(client) || is_ignored)
        }),
    },
    Rule {
        name: "packets that come together with a DISCONNECT, behind it",
        why: "they are for a socket that is gone",
        allows: Allows::FromHereOn(|step, before, _| {
            let Some((client, packets)) = sent(step) else {
                return false;
            };
            let leave = packets.iter().position(|packet| is_text(packet, "41"));
            let is_behind = leave.is_some_and(|leave| leave + 1 < packets.len());
            // Also where both end: sessions may have been adopted on the way.
            before.joined[client] && is_behind
        }),
    },
    Rule {
        name: "a namespace of more than 1,024 bytes",
        why: "its refusal would be as long",
        allows: Allows::FromHereOn(|step, _, pair| {
            let Some((client, packets)) = sent(step) else {
                return false;
            };
            let is_long =
                |packet: &Packet| matches!(packet, Packet::Text(sent) if sent.starts_with("40/nn"));
            count(packets, is_long) > 0 && pair.sockd_alone_ends(client)
        }),
    },
    Rule {
        name: "a close packet over WebSocket",
        why: "it ends the connection at once, as over polling",
        allows: Allows::FromHereOn(|step, _, pair| {
            let client = match (step, sent(step)) {
                (Some(Step::Leave(client, Leaving::ClosePacket)), _) => *client,
                (_, Some((client, packets))) if count(packets, is_close) > 0 => client,
                _ => return false,
            };
            pair.sockd_alone_ends(client)
        }),
    },
    Rule {
        name: "an upgrade that is refused",
        why: "a refusal is an HTTP answer, not an open WebSocket that is closed",
        allows: Allows::Apart(|step, pair| {
            let refused = format!("second upgrade: 400 {BAD_REQUEST}");
            replace(&mut pair.node, "second upgrade: Closed(None)", &refused);
            let odd = ["EIO=3", "transport=polling"];
            if requests_upgrade(step, |query, _| odd.iter().any(|odd| query.contains(odd))) {
                drop_answers(pair, "101", &["400"]);
            }
        }),
    },
    Rule {
        name: "version 8 of WebSocket",
        why: "it is a draft of RFC 6455, which has version 13",
        allows: Allows::Apart(|step, pair| {
            if requests_upgrade(step, |_, headers| headers.contains("version: 8")) {
                drop_answers(pair, "101", &["400"]);
            }
        }),
    },
    Rule {
        name: "`Upgrade` to another protocol, alone or beside `websocket`",
        why: "it is a list of which a server may choose, or nothing (RFC 9110, 7.8)",
        allows: Allows::Apart(|step, pair| {
            if requests_upgrade(step, |_, headers| headers.contains("h2c")) {
                drop_answers(pair, "400", &["101", "200"]);
            }
        }),
    },
    Rule {
        name: "an event with a placeholder for an attachment that it does not have",
        why: "nothing of it is kept, so nothing is put together",
        allows: Allows::FromHereOn(|step, before, pair| {
            let Some((client, packets)) = sent(step) else {
                return false;
            };
            let is_misplaced =
                |packet: &Packet| matches!(packet, Packet::Text(sent) if sent.contains(MISPLACED));
            before.joined[client]
                && count(packets, is_misplaced) > 0
                && pair.node_alone_ends(client)
        }),
    },
    Rule {
        name: "a request for a whole URL",
        why: "a server has to accept it (RFC 9112, 3.2.2)",
        allows: Allows::Apart(|step, pair| {
            if matches!(step, Some(Step::OpenRequest(request)) if request.contains(" http:")) {
                drop_answers(pair, "404", &["200 0{"]);
            }
        }),
    },
    Rule {
        name: "JSONP",
        why: "no client of this protocol asks for it",
        allows: Allows::Apart(|step, pair| {
            if matches!(step, Some(Step::OpenRequest(request)) if request.contains("&j=")) {
                drop_answers(pair, "200 ___eio[0](", &["200 0{"]);
            }
        }),
    },
    Rule {
        name: "an upgrade of a WebSocket session",
        why: "there is nothing to upgrade",
        allows: Allows::FromHereOn(|step, _, pair| {
            let Some(Step::Upgrade(client, _)) = step else {
                return false;
            };
            pair.sockd_saw(*client, "upgrade: 400")
        }),
    },
    Rule {
        name: "a pending poll when `2probe` and `5` come together",
        why: "it is released, and the session goes on",
        allows: Allows::FromHereOn(|step, _, pair| {
            let Some(Step::Upgrade(client, Upgrade::InOneBreath)) = step else {
                return false;
            };
            let closed = |seen: &Seen| seen.who == name(*client) && seen.what == "1";
            pair.node.iter().any(closed)
        }),
    },
    Rule {
        name: "an upgrade packet without a probe",
        why: "the client has not shown that it can hear",
        allows: Allows::FromHereOn(|step, _, pair| {
            let Some(Step::Upgrade(_, Upgrade::First(packet))) = step else {
                return false;
            };
            is_text(packet, "5") && pair.differ()
        }),
    },
];

/// The packets that a client sends in a step.
fn sent(step: Option<&Step>) -> Option<(usize, &[Packet])> {
    match step? {
        Step::Send(client, packets) | Step::Upgrade(client, Upgrade::PostBetween(packets)) => {
            Some((*client, packets))
        }
        Step::Frames(client, Frames::Pieces(packet)) => Some((*client, slice::from_ref(packet))),
        _ => None,
    }
}

/// Whether a stranger requests a WebSocket by such a query and headers.
fn requests_upgrade(step: Option<&Step>, by: impl Fn(&str, &str) -> bool) -> bool {
    matches!(step, Some(Step::UpgradeRequest(query, headers)) if by(query, headers))
}

/// Removes the response to an unknown sid, if it begins like this on either side.
fn drop_answers(pair: &mut Pair, node: &str, sockd: &[&str]) {
    let begins = |seen: &[Seen], with: &str| matches!(seen, [seen] if seen.what.starts_with(with));
    if begins(&pair.node, node) && sockd.iter().any(|with| begins(&pair.sockd, with)) {
        pair.node.clear();
        pair.sockd.clear();
    }
}

fn count(packets: &[Packet], which: impl Fn(&Packet) -> bool) -> usize {
    packets.iter().filter(|packet| which(packet)).count()
}

fn is_connect(packet: &Packet) -> bool {
    matches!(packet, Packet::Connect(_))
}

fn is_text(packet: &Packet, text: &str) -> bool {
    matches!(packet, Packet::Text(sent) if sent == text)
}

fn is_close(packet: &Packet) -> bool {
    matches!(packet, Packet::Text(sent) if sent.starts_with('1'))
}

fn replace(seen: &mut [Seen], from: &str, to: &str) {
    for seen in seen {
        seen.what = seen.what.replace(from, to);
    }
}

/// Removes the close packets before the end of a polling session.
fn drop_close_packets(seen: &mut Vec<Seen>) {
    let is_end = |seen: &Seen| seen.what.starts_with("poll: 400");
    let ended: Vec<_> = seen
        .iter()
        .filter(|seen| is_end(seen))
        .map(|seen| seen.who)
        .collect();
    seen.retain(|seen| seen.what != "1" || !ended.contains(&seen.who));
}

/// Writes the numbers of payloads as doubles, so that payloads are equal if JavaScript reads the same.
fn read_payloads(seen: &mut Vec<Seen>) {
    for seen in seen {
        let event = seen.what.strip_prefix("42");
        let event = event.and_then(|event| serde_json::from_str(event).ok());
        if let Some(event) = event {
            seen.what = format!("42{}", with_doubles(event));
        }
    }
}

fn with_doubles(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            // Minus zero is zero.
            let number = number.as_f64().unwrap_or_default() + 0.0;
            number.into()
        }
        Value::Array(list) => list.into_iter().map(with_doubles).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            fields
                .map(|(name, value)| (name, with_doubles(value)))
                .collect()
        }
        other => other,
    }
}
