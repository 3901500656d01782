//! What operators are told.

use std::time::Duration;

use super::BEFORE;
use crate::story::{Answer, Told};

/// How long a question may take: what is stored is read meanwhile.
const LIMIT: Duration = Duration::from_millis(2_500);
/// For how long two nodes must have been linked to know each other: hellos come every 2 s.
const ACQUAINTANCE: Duration = Duration::from_secs(3);
/// For how long after that they do at least.
const MEMORY: Duration = Duration::from_secs(6);
/// How long a node takes to leave, of which it tells the others.
const PARTING: Duration = Duration::from_secs(2);

pub(super) fn check(told: &Told, wrongs: &mut Vec<String>) {
    for answer in &told.answers {
        let takes = answer.answered - answer.started;
        if takes > LIMIT {
            wrongs.push(format!("it takes {takes:?} to be told {answer}"));
        }
        names_each_once(answer, wrongs);
        names_the_known(told, answer, wrongs);
        lists_the_live(told, answer, wrongs);
    }
}

fn names_each_once(answer: &Answer, wrongs: &mut Vec<String>) {
    let mut named: Vec<usize> = answer.nodes.iter().map(|asked| asked.node).collect();
    if named.first() != Some(&answer.node) {
        wrongs.push(format!(
            "node {} does not name itself: {answer}",
            answer.node
        ));
    }
    named.sort_unstable();
    if named.windows(2).any(|two| two[0] == two[1]) {
        wrongs.push(format!("a node is named twice: {answer}"));
    }
    if answer.complete && answer.nodes.iter().any(|asked| !asked.has_answered) {
        wrongs.push(format!(
            "a node has not answered, but is not missed: {answer}"
        ));
    }
}

/// A node that is linked, as is the one that was asked, has answered; one that was lately is at
/// least named.
fn names_the_known(told: &Told, answer: &Answer, wrongs: &mut Vec<String>) {
    let Answer {
        started, answered, ..
    } = *answer;
    for node in 0..told.unlinked.len() {
        let were_linked = |from, to| {
            let mut both = [node, answer.node].into_iter();
            told.has_run(node, from, answered + PARTING)
                && told.has_run(answer.node, from, answered)
                && both.all(|node| told.was_linked(node, from, to))
        };
        let asked = answer.nodes.iter().find(|asked| asked.node == node);
        let since = started - ACQUAINTANCE;
        if were_linked(since, answered + BEFORE) && !asked.is_some_and(|asked| asked.has_answered) {
            wrongs.push(format!("node {node} has not answered: {answer}"));
        }
        let seconds = (0..=MEMORY.as_secs()).map(Duration::from_secs);
        let mut starts = seconds.filter_map(|ago| since.checked_sub(ago));
        if asked.is_none() && starts.any(|from| were_linked(from, from + ACQUAINTANCE)) {
            wrongs.push(format!("node {node} is not named: {answer}"));
        }
    }
}

/// Each socket that is listed was in at some time of the question, where it is said to be. Of those
/// that were live all the time, none is missing of a node that has answered.
fn lists_the_live(told: &Told, answer: &Answer, wrongs: &mut Vec<String>) {
    let Some(user) = answer.user else { return };
    for (number, node) in &answer.sockets {
        let socket = &told.sockets[*number];
        let was_in = socket.admitted.is_some_and(|at| at <= answer.answered)
            && socket.ended.is_none_or(|ended| ended >= answer.started);
        if (socket.user, socket.node) != (user, *node) || !was_in {
            wrongs.push(format!("client {number} was not there: {answer}"));
        }
    }
    for asked in answer.nodes.iter().filter(|asked| asked.has_answered) {
        let listed = answer
            .sockets
            .iter()
            .filter(|(_, node)| *node == asked.node);
        let listed: Vec<usize> = listed.map(|(socket, _)| *socket).collect();
        if asked.sockets != Some(listed.len()) {
            wrongs.push(format!("node {} miscounts: {answer}", asked.node));
        }
        for (number, socket) in told.sockets.iter().enumerate() {
            let was_live = (socket.user, socket.node) == (user, asked.node)
                && socket.live.is_some_and(|live| live < answer.started)
                && socket.ended.is_none_or(|ended| ended > answer.answered);
            if was_live && !listed.contains(&number) {
                wrongs.push(format!("client {number} is missing: {answer}"));
            }
        }
    }
}
