//! Who is in, and what is stored of it.

use std::time::Duration;

use tokio::time::Instant;

use super::BEFORE;
use crate::{
    story::{Message, Socket, Told},
    world::SWEEP,
};

/// For how long after a change of session whoever is let in has to know that it is alone.
const NEWS: Duration = Duration::from_secs(2);
/// How long a replaced session may be live beside its successor where all links are good.
const TOGETHER: Duration = Duration::from_millis(500);

pub(super) fn check(told: &Told, wrongs: &mut Vec<String>) {
    one_is_live(told, wrongs);
    adopted_alone(told, wrongs);
    let_in_alone(told, wrongs);
    stored_for_a_reason(told, wrongs);
    stored_and_announced(told, wrongs);
    renewed_by_handshakes(told, wrongs);
    kept_while_live(told, wrongs);
    refused_changes_nothing(told, wrongs);
}

/// Two sessions of a user are not live for longer than a moment on nodes that are linked, and for
/// longer than a sweep if somebody else has written one.
fn one_is_live(told: &Told, wrongs: &mut Vec<String>) {
    for (number, one) in told.sockets.iter().enumerate() {
        for (other_number, other) in told.sockets.iter().enumerate().skip(number + 1) {
            if one.user != other.user || one.session == other.session {
                continue;
            }
            let Some((from, to)) = together(one, other) else {
                continue;
            };
            if let Some(since) = good_moment(told, [one, other], from, to) {
                wrongs.push(format!(
                    "clients {number} of s{} and {other_number} of s{} are both live since{}",
                    one.session,
                    other.session,
                    told.at(since)
                ));
            }
        }
    }
}

/// From when to when both are live.
fn together(one: &Socket, other: &Socket) -> Option<(Instant, Instant)> {
    let now = Instant::now();
    let from = one.live?.max(other.live?);
    let to = one.ended.unwrap_or(now).min(other.ended.unwrap_or(now));
    (from < to).then_some((from, to))
}

/// The beginning of a time within these in which both nodes were linked for long enough to have noticed.
fn good_moment(told: &Told, sockets: [&Socket; 2], from: Instant, to: Instant) -> Option<Instant> {
    let user = sockets[0].user;
    let nodes = sockets.map(|socket| socket.node);
    let unlinked = nodes.iter().flat_map(|node| &told.unlinked[*node]);
    let mut unlinked: Vec<Instant> = unlinked.copied().collect();
    unlinked.sort();
    let meddled = told.meddled.iter().filter(|(_, whose)| *whose == user);
    let blind = meddled.map(|(at, _)| {
        // A sweep while a node is not linked may fail; the next one counts.
        let swept = unlinked.iter().fold(*at, |swept, unlinked| {
            let is_within = (swept..swept + SWEEP + TOGETHER).contains(unlinked);
            if is_within { *unlinked } else { swept }
        });
        (*at, swept + SWEEP + TOGETHER)
    });
    let blind: Vec<_> = blind.chain(told.losses.iter().copied()).collect();
    let ends = unlinked.iter().chain(blind.iter().map(|(_, until)| until));
    // The watch sees that a node is not linked up to 150 ms late.
    let begins = ends.map(|at| *at + Duration::from_millis(1));
    let mut begins = begins.filter(|at| *at > from).chain([from]);
    begins.find(|begin| {
        let (first, last) = (*begin - BEFORE, *begin + TOGETHER);
        let is_blind = blind
            .iter()
            .any(|(from, until)| *from <= last && *until >= *begin);
        let linked = |node: &usize| told.was_linked(*node, *begin, last + BEFORE);
        let was_linked = |node: &usize| told.was_linked(*node, first, *begin);
        last <= to
            && !is_blind
            && nodes.iter().all(linked)
            && (*begin != from || nodes.iter().all(was_linked))
    })
}

/// Who adopts a session is let in when all others are gone.
fn adopted_alone(told: &Told, wrongs: &mut Vec<String>) {
    for deed in told.stored.iter().filter(|deed| deed.over.is_none()) {
        let logins = told.logouts.iter();
        let mut logins = logins.filter(|logout| logout.user == deed.user);
        let adopters = told.sockets.iter().enumerate().filter(|(_, socket)| {
            (socket.user, socket.session) == (deed.user, deed.session)
                && Some(socket.node) == deed.node
                && socket.began <= deed.at
                && socket.admitted.is_none_or(|at| at >= deed.at)
        });
        // Others of the same session need not wait. One that was never let in may be the adopter.
        let last = adopters.max_by_key(|(_, socket)| (socket.admitted.is_none(), socket.admitted));
        let Some((number, adopter)) = last else {
            continue;
        };
        let Some(admitted) = adopter.admitted else {
            continue;
        };
        if logins.any(|logout| logout.session == deed.session) {
            continue;
        }
        for (other_number, other) in told.sockets.iter().enumerate() {
            let is_in = other.user == deed.user
                && other.session != deed.session
                && other.live.is_some_and(|live| live < deed.at)
                && other.ended.is_none_or(|ended| ended > admitted);
            let nodes = [adopter.node, other.node];
            let mut nodes = nodes.iter();
            if is_in
                && nodes.all(|node| told.was_linked(*node, deed.at - BEFORE, admitted + BEFORE))
            {
                wrongs.push(format!(
                    "client {number} adopts s{} and is in while client {other_number} of s{} still is",
                    deed.session, other.session
                ));
            }
        }
    }
}

/// Whoever is let in just after a change of session is let in when the sockets of all other
/// sessions are gone, also from nodes that hear of the change but cannot read what is stored.
fn let_in_alone(told: &Told, wrongs: &mut Vec<String>) {
    for (number, socket) in told.sockets.iter().enumerate() {
        let Some(admitted) = socket.admitted else {
            continue;
        };
        let mut earlier = told.stored.iter().rev();
        let deed = earlier.find(|deed| deed.user == socket.user && deed.at <= admitted);
        let Some(deed) = deed.filter(|deed| deed.session == socket.session && deed.node.is_some())
        else {
            continue;
        };
        let from = deed.at - BEFORE;
        // A node that cannot write lets in whoever has the stored session.
        if !told.was_linked(socket.node, socket.began.min(deed.at) - BEFORE, admitted) {
            continue;
        }
        for (other_number, other) in told.sockets.iter().enumerate() {
            let is_in = other.user == socket.user
                && other.session != socket.session
                && other.live.is_some_and(|live| live < deed.at)
                && other.ended.is_none_or(|ended| ended > admitted);
            if is_in && told.was_hearing(other.node, from, admitted + BEFORE) {
                wrongs.push(format!(
                    "client {number} of s{} is let in while client {other_number} of s{} still is",
                    socket.session, other.session
                ));
            }
        }
    }
}

/// A session is stored over another only by its login, and only once.
fn stored_for_a_reason(told: &Told, wrongs: &mut Vec<String>) {
    for (index, deed) in told.stored.iter().enumerate() {
        let Some(over) = deed.over.filter(|over| *over != deed.session) else {
            continue;
        };
        let is_it = |(user, session)| (user, session) == (deed.user, deed.session);
        let is_login = told
            .logouts
            .iter()
            .any(|logout| is_it((logout.user, logout.session)) && logout.started <= deed.at);
        let mut earlier = told.stored[..index].iter();
        let is_repeated = earlier.any(|earlier| {
            is_it((earlier.user, earlier.session))
                && earlier.node.is_some()
                && earlier.over.is_some_and(|over| over != deed.session)
        });
        if deed.node.is_some() && (!is_login || is_repeated) {
            wrongs.push(format!(
                "s{} of u{} is stored over s{over} without a login",
                deed.session, deed.user
            ));
        }
    }
}

/// A node announces what it stores, and stores what it announces: both at once, or neither. Whoever
/// is let in soon after has it announced again.
fn stored_and_announced(told: &Told, wrongs: &mut Vec<String>) {
    let stored = told.stored.iter().filter(|deed| deed.node.is_some());
    let mut stored: Vec<_> = stored
        .map(|deed| (deed.at, deed.user, deed.session))
        .collect();
    for deed in &told.published {
        let Message::Session(session) = deed.what else {
            continue;
        };
        let announced = (deed.at, deed.user, session);
        let mut earlier = told.stored.iter();
        let is_news = earlier.any(|stored| {
            (stored.user, stored.session) == (deed.user, session)
                && (stored.at..=stored.at + NEWS).contains(&deed.at)
        });
        match stored.iter().position(|deed| *deed == announced) {
            Some(index) => drop(stored.remove(index)),
            None if is_news => {}
            None => wrongs.push(format!(
                "s{session} of u{} was announced at{}, but not stored",
                deed.user,
                told.at(deed.at)
            )),
        }
    }
    for (at, user, session) in stored {
        let at = told.at(at);
        wrongs.push(format!(
            "s{session} of u{user} was stored at{at}, but not announced"
        ));
    }
}

/// Whoever is let in has renewed the session.
fn renewed_by_handshakes(told: &Told, wrongs: &mut Vec<String>) {
    for (number, socket) in told.sockets.iter().enumerate() {
        let (Some(admitted), Some(left)) = (socket.admitted, socket.left) else {
            continue;
        };
        let takes = admitted - socket.began + BEFORE;
        if left + takes < told.ttl && told.was_linked(socket.node, socket.began - BEFORE, admitted)
        {
            wrongs.push(format!(
                "client {number} is in, but s{} will be forgotten in {left:?}",
                socket.session
            ));
        }
    }
}

/// A session with a live socket is not forgotten while its node is linked.
fn kept_while_live(told: &Told, wrongs: &mut Vec<String>) {
    for (at, user, session) in &told.expired {
        // Renewal knows a session only in sockd's own spelling.
        if told.meddled.iter().any(|(_, meddled)| meddled == user) {
            continue;
        }
        let since = at.checked_sub(told.ttl).unwrap_or(*at);
        for (number, socket) in told.sockets.iter().enumerate() {
            let is_live = (socket.user, socket.session) == (*user, *session)
                && socket.live.is_some_and(|live| live < since)
                && socket.ended.is_none_or(|ended| ended > *at);
            if is_live && told.was_linked(socket.node, since, *at) {
                wrongs.push(format!(
                    "s{session} of u{user} is forgotten although client {number} is live"
                ));
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
        let is = |user, session| (user, session) == (logout.user, logout.session);
        // Redis may have done what it did not answer, and a client may have adopted the session.
        let may_be_stored = told
            .sockets
            .iter()
            .any(|socket| is(socket.user, socket.session));
        let was_answered = told.was_answered(logout.node, logout.started - BEFORE, answered);
        if may_be_stored || !was_answered {
            continue;
        }
        let stored = told.stored.iter();
        let is_stored = stored.clone().any(|deed| is(deed.user, deed.session));
        let mut published = told.published.iter();
        let is_announced = published
            .any(|deed| matches!(deed.what, Message::Session(session) if is(deed.user, session)));
        for (is_done, what) in [(is_stored, "stored"), (is_announced, "announced")] {
            if is_done {
                wrongs.push(format!(
                    "login s{} of u{} was answered 503, but s{0} was {what}",
                    logout.session, logout.user
                ));
            }
        }
    }
}
