//! A question to each of the other nodes, whether it has the user or not.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{Question, RedisBus, Reply};
use crate::{
    id::NodeId,
    wire::{Answered, Build, Inquiry},
};

/// What became of a question to one node.
#[derive(Debug)]
pub struct PeerAnswer {
    pub node: NodeId,
    pub release: String,
    /// The reply, or why there is none.
    pub reply: Result<Reply, Answered>,
}

impl RedisBus {
    /// Asks each live node, and waits for the answers.
    pub(in crate::bus) async fn ask_peers(
        self: &Arc<Self>,
        inquiry: Inquiry,
        limit: Duration,
    ) -> Vec<PeerAnswer> {
        let deadline = Instant::now() + limit;
        let peers = self.state().peers();
        let question = Question::open(self);
        let can_answer = |(_, build): &&(NodeId, Build)| build.can(inquiry.kind());
        let asked: Vec<_> = peers
            .iter()
            .filter(can_answer)
            .map(|(node, _)| node)
            .collect();
        let message = inquiry.clone().message(self.node.clone(), question.seq());
        let sent = timeout_at(deadline, self.send_to(&asked, &message.encode())).await;
        let reached = sent.unwrap_or_default();
        let answered = question.answered_by(reached.len());
        timeout_at(deadline, answered).await.ok();
        let mut answers = question.answers();
        let outcome = |(node, build): (NodeId, Build)| {
            let answer = answers
                .iter()
                .position(|answer| answer.from.as_ref() == Some(&node));
            let reply = match answer {
                Some(position) => Ok(answers.swap_remove(position).reply),
                None if !build.can(inquiry.kind()) => Err(Answered::TooOld),
                None if reached.contains(&node) => Err(Answered::TimedOut),
                None => Err(Answered::Unreachable),
            };
            PeerAnswer {
                node,
                release: build.release,
                reply,
            }
        };
        peers.clone().into_iter().map(outcome).collect()
    }

    /// Sends a message to these nodes; returns those that have received it.
    async fn send_to(&self, nodes: &[&NodeId], message: &[u8]) -> Vec<NodeId> {
        let Some(mut connection) = self.link.current().filter(|_| !nodes.is_empty()) else {
            return Vec::new();
        };
        let messages = nodes.iter().map(|node| (self.names.node(node), message));
        let published = connection.publish_each(messages).await.unwrap_or_default();
        let published = nodes.iter().zip(published);
        let received = published.filter(|(_, receivers)| matches!(receivers, Ok(1..)));
        received.map(|(node, _)| (*node).clone()).collect()
    }
}
