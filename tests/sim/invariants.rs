//! What must hold of every run, whatever has happened in it.

mod answers;
mod sessions;

use std::{collections::BTreeSet, time::Duration};

use super::story::{Message, Told};

/// How long before and after something a link must have been good for it to count.
const BEFORE: Duration = Duration::from_millis(250);
const AFTER: Duration = Duration::from_secs(2);
/// How much later than the answer a slow link may bring what was stored.
const LATE: Duration = Duration::from_millis(250);

/// Adds all that is wrong.
pub(super) fn check(told: &mut Told) {
    let mut wrongs = Vec::new();
    once(told, &mut wrongs);
    everywhere(told, &mut wrongs);
    in_order(told, &mut wrongs);
    not_to_the_replaced(told, &mut wrongs);
    not_behind_an_announcement(told, &mut wrongs);
    kicked_are_gone(told, &mut wrongs);
    sessions::check(told, &mut wrongs);
    answers::check(told, &mut wrongs);
    told.wrongs.append(&mut wrongs);
}

/// No socket gets an event twice.
fn once(told: &Told, wrongs: &mut Vec<String>) {
    for (number, socket) in told.sockets.iter().enumerate() {
        let mut seen = BTreeSet::new();
        for (_, event) in &socket.received {
            if !seen.insert(*event) {
                wrongs.push(format!("client {number} gets event {event} twice"));
            }
        }
    }
}

/// An event that was answered 200 is on every socket that was live and whose node was linked.
fn everywhere(told: &Told, wrongs: &mut Vec<String>) {
    for (event, emit) in told.emits.iter().enumerate() {
        let Some((answered, true)) = emit.answered else {
            continue;
        };
        let (from, to) = (emit.started - BEFORE, answered + AFTER);
        // A master that has been replaced has taken it: nobody can know whether it was delivered.
        let is_misled = told.publication(event).is_some_and(|by| by.is_replaced);
        if is_misled || told.has_lost(from, answered) {
            continue;
        }
        for (number, socket) in told.sockets.iter().enumerate() {
            let was_live = socket.user == emit.user
                && socket.live.is_some_and(|live| live < emit.started)
                && socket.ended.is_none_or(|ended| ended > to);
            if was_live
                && told.was_linked(socket.node, from, to)
                && socket.received.iter().all(|(_, got)| *got != event)
            {
                wrongs.push(format!("client {number} does not get event {event}"));
            }
        }
    }
}

/// Events come in the order in which they were sent, if one was answered 200 before the other was
/// sent, or both went through one node and over one connection. On a node whose link was bad that
/// holds for its own events.
fn in_order(told: &Told, wrongs: &mut Vec<String>) {
    for (number, socket) in told.sockets.iter().enumerate() {
        for (index, (_, later)) in socket.received.iter().enumerate() {
            for (came, earlier) in &socket.received[index + 1..] {
                let (first, second) = (&told.emits[*earlier], &told.emits[*later]);
                let (Some((answered, true)), Some((_, true))) = (first.answered, second.answered)
                else {
                    continue;
                };
                let ways = [earlier, later].map(|event| told.publication(*event));
                let is_one_way = match ways {
                    [Some(one), Some(other)] => one.connection == other.connection,
                    // What is sent over a link that fails may be overtaken over its successor.
                    [None, None] => true,
                    _ => false,
                };
                let in_turn = answered < second.started
                    || is_one_way && first.node == second.node && first.started < second.started;
                let is_own = [first, second].iter().all(|emit| emit.node == socket.node);
                let from = first.started - BEFORE;
                if in_turn && (is_own || told.was_linked(socket.node, from, *came)) {
                    wrongs.push(format!(
                        "client {number} gets event {later} before event {earlier}"
                    ));
                }
            }
        }
    }
}

/// No event that was sent after a force-logout was answered reaches a session that it replaced.
fn not_to_the_replaced(told: &Told, wrongs: &mut Vec<String>) {
    for logout in &told.logouts {
        let Some((answered, true)) = logout.answered else {
            continue;
        };
        let of_user = || told.stored.iter().filter(|deed| deed.user == logout.user);
        let Some(stored) = of_user().find(|deed| deed.session == logout.session) else {
            continue;
        };
        for (number, socket) in told.sockets.iter().enumerate() {
            if socket.user != logout.user || socket.session == logout.session {
                continue;
            }
            let is_back =
                of_user().any(|deed| deed.at >= stored.at && deed.session == socket.session);
            if is_back {
                continue;
            }
            for (at, event) in &socket.received {
                let emit = &told.emits[*event];
                if emit.started <= answered || told.has_lost(logout.started, *at) {
                    continue;
                }
                // A node that can reach nobody cannot know.
                let could_not_know = emit.node == socket.node
                    && !told.was_linked(socket.node, emit.started - BEFORE, *at);
                if !could_not_know {
                    wrongs.push(format!(
                        "client {number} of s{} gets event {event}, which was sent after s{} had \
                         replaced it",
                        socket.session, logout.session
                    ));
                }
            }
        }
    }
}

/// On a node that is linked no event reaches a session that was replaced before it in the order of Redis.
fn not_behind_an_announcement(told: &Told, wrongs: &mut Vec<String>) {
    for (index, announced) in told.published.iter().enumerate() {
        let Message::Session(session) = announced.what else {
            continue;
        };
        let later = told.published[index + 1..]
            .iter()
            .filter(|later| (later.user, later.by.server) == (announced.user, announced.by.server));
        for later in later {
            let Message::Event(event) = later.what else {
                continue;
            };
            for (number, socket) in told.sockets.iter().enumerate() {
                let mut received = socket.received.iter();
                // One that was delivered without the bus may have been published later.
                let received = received.find(|(at, got)| *got == event && *at > announced.at);
                let Some((at, _)) = received.filter(|_| socket.session != session) else {
                    continue;
                };
                let is_back = told.stored.iter().any(|deed| {
                    (deed.user, deed.session) == (socket.user, socket.session)
                        && deed.at >= announced.at
                });
                let from = announced.at - BEFORE;
                if !is_back && !told.has_lost(from, *at) && told.was_linked(socket.node, from, *at)
                {
                    wrongs.push(format!(
                        "client {number} of s{} gets event {event}, which was published after s{session} \
                         was announced",
                        socket.session
                    ));
                }
            }
        }
    }
}

/// No socket that was live when a kick was asked is live after it was answered 200, if its node was
/// linked.
fn kicked_are_gone(told: &Told, wrongs: &mut Vec<String>) {
    for kick in &told.kicks {
        let Some((answered, true)) = kick.answered else {
            continue;
        };
        let (from, to) = (kick.started - BEFORE, answered + AFTER);
        // What is stored is made up for, so a node that is not ready itself does not wait for all others.
        let limit = answered
            + if kick.invalidates {
                LATE
            } else {
                Duration::ZERO
            };
        // A master that was replaced and does not know it tells only the nodes that it still has, and
        // what it stores is lost.
        if told.has_lost(from, answered) {
            continue;
        }
        for (number, socket) in told.sockets.iter().enumerate() {
            let was_live = socket.user == kick.user
                && socket.live.is_some_and(|live| live < kick.started)
                && socket.ended.is_none_or(|ended| ended > limit);
            // A login at the same time may come last, and its session stays.
            let is_renewed = kick.invalidates
                && told.logouts.iter().any(|logout| {
                    (logout.user, logout.session) == (socket.user, socket.session)
                        && logout.started <= answered
                        && logout.answered.is_none_or(|(at, _)| at >= kick.started)
                });
            if was_live && !is_renewed && told.was_linked(socket.node, from, to) {
                wrongs.push(format!(
                    "client {number} is live after a kick that was answered at {}",
                    told.at(answered)
                ));
            }
        }
    }
}
