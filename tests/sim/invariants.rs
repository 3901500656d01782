//! What must hold of every run, whatever has happened in it.

use std::{collections::BTreeSet, time::Duration};

use super::story::Told;

/// How long before and after something a link must have been good for it to count.
const BEFORE: Duration = Duration::from_millis(250);
const AFTER: Duration = Duration::from_secs(2);

/// Adds what is wrong.
pub(super) fn check(told: &mut Told) {
    let mut wrongs = Vec::new();
    once(told, &mut wrongs);
    everywhere(told, &mut wrongs);
    in_order(told, &mut wrongs);
    not_to_the_replaced(told, &mut wrongs);
    refused_changes_nothing(told, &mut wrongs);
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
/// sent, or both went through one node. On a node whose link was bad that holds for its own events.
fn in_order(told: &Told, wrongs: &mut Vec<String>) {
    for (number, socket) in told.sockets.iter().enumerate() {
        for (index, (_, later)) in socket.received.iter().enumerate() {
            for (came, earlier) in &socket.received[index + 1..] {
                let (first, second) = (&told.emits[*earlier], &told.emits[*later]);
                let (Some((answered, true)), Some((_, true))) = (first.answered, second.answered)
                else {
                    continue;
                };
                let in_turn = answered < second.started
                    || first.node == second.node && first.started < second.started;
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
        let of_user = || {
            let stored = told.stored.iter();
            stored.filter(|(_, user, _)| *user == logout.user)
        };
        let Some((stored, ..)) = of_user().find(|(_, _, session)| *session == logout.session)
        else {
            continue;
        };
        for (number, socket) in told.sockets.iter().enumerate() {
            if socket.user != logout.user || socket.session == logout.session {
                continue;
            }
            let is_back =
                of_user().any(|(at, _, session)| at >= stored && *session == socket.session);
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

/// A force-logout that was answered 503 has changed nothing.
fn refused_changes_nothing(told: &Told, wrongs: &mut Vec<String>) {
    for logout in &told.logouts {
        let Some((answered, false)) = logout.answered else {
            continue;
        };
        let is = |(_, user, session): &&(_, usize, usize)| {
            (*user, *session) == (logout.user, logout.session)
        };
        // Redis may have done what it did not answer, and a client may have adopted the session.
        let may_be_stored = told
            .sockets
            .iter()
            .any(|socket| (socket.user, socket.session) == (logout.user, logout.session));
        let was_answered = told.was_answered(logout.node, logout.started - BEFORE, answered);
        if may_be_stored || !was_answered {
            continue;
        }
        for (deeds, what) in [(&told.stored, "stored"), (&told.announced, "announced")] {
            if deeds.iter().any(|deed| is(&deed)) {
                wrongs.push(format!(
                    "login s{} of u{} was answered 503, but s{0} was {what}",
                    logout.session, logout.user
                ));
            }
        }
    }
}
