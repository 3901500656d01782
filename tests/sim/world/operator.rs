//! What operators ask of the nodes, who ask each other.

use std::time::Duration;

use sockd::{
    id::NodeId,
    wire::{Answered, NodeStatus},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{World, client::FIRST_PORT, user_id};
use crate::{
    plan::USERS,
    story::{Answer, AskedNode},
};

impl World {
    pub(super) async fn ask(&self, user: Option<usize>, place: usize) {
        let process = self.process(place);
        let (node, started) = (process.number, Instant::now());
        let what = user.map_or_else(|| "all nodes".to_owned(), |user| format!("u{user}"));
        self.story
            .say("operator", format_args!("asks node {node} about {what}"));
        let (complete, nodes, sockets) = match user {
            Some(user) => {
                let answer = process.node.inspect(&user_id(user)).await;
                let nodes = answer.nodes.iter().map(|asked| AskedNode {
                    node: number(&asked.node),
                    has_answered: asked.answered == Answered::Yes,
                    sockets: asked.sockets,
                });
                let sockets = answer.sockets.iter().map(|row| {
                    let client = row.socket.address.as_deref().and_then(client);
                    (
                        client.expect("each client has an address"),
                        number(&row.node),
                    )
                });
                (answer.complete, nodes.collect(), sockets.collect())
            }
            None => {
                let answer = process.node.status(true).await;
                let nodes = answer.nodes.iter().map(|row| AskedNode {
                    node: number(&row.node),
                    has_answered: row.answered == Answered::Yes,
                    sockets: None,
                });
                (answer.complete, nodes.collect(), Vec::new())
            }
        };
        let mut told = self.story.told();
        let answer = Answer {
            user,
            node,
            started,
            answered: Instant::now(),
            complete,
            nodes,
            sockets,
        };
        told.say("operator", format_args!("is told of {what}: {answer}"));
        told.answers.push(answer);
    }

    /// Reads a trace for this long, and leaves.
    pub(super) async fn trace(&self, user: usize, place: usize, time: Duration) {
        let process = self.process(place);
        let traces = format!("traces u{user} at node {}", process.number);
        self.story.say("operator", traces);
        let Ok(trace) = process.node.begin_trace(&user_id(user), true) else {
            return;
        };
        let (caller, mut lines) = mpsc::channel(1);
        let running = process.node.clone().run_trace(trace, caller);
        let reading = async { while lines.recv().await.is_some() {} };
        timeout(time, async { tokio::join!(running, reading) })
            .await
            .ok();
        self.story
            .say("operator", format_args!("has seen enough of u{user}"));
    }

    /// Once things have been quiet for a while, every node knows all others.
    pub(super) async fn check_answers(&self) {
        let places = self.processes().len();
        let living: Vec<usize> = self.all_processes().iter().map(|one| one.number).collect();
        for place in 0..places {
            for user in (0..USERS).map(Some).chain([None]) {
                self.ask(user, place).await;
                let mut told = self.story.told();
                let answer = told.answers.last().expect("it was just asked");
                // It is missed until it has been silent for ten seconds, and whoever asks was there to hear that.
                let has_ended = |node: &AskedNode| told.runs[node.node].1.is_some();
                let has_answered = |node: &&AskedNode| node.has_answered;
                let mut answered: Vec<usize> = answer
                    .nodes
                    .iter()
                    .filter(has_answered)
                    .map(|node| node.node)
                    .collect();
                answered.sort_unstable();
                let mut living = living.clone();
                living.sort_unstable();
                let mut silent = answer.nodes.iter().filter(|node| !node.has_answered);
                if answered != living || !silent.all(has_ended) {
                    let wrong = format!("of nodes {living:?} an operator is told {answer}");
                    told.wrongs.push(wrong);
                }
            }
        }
    }
}

/// The report of a node of which nothing else is known.
pub(super) fn report() -> Option<NodeStatus> {
    Some(NodeStatus::default())
}

fn number(node: &NodeId) -> usize {
    let number = node.as_str().strip_prefix('n');
    let number = number.and_then(|number| number.parse().ok());
    number.expect("nodes are called n0, n1 and so on")
}

/// The number of the client with that address.
fn client(address: &str) -> Option<usize> {
    let (_, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    Some(usize::from(port - FIRST_PORT))
}
