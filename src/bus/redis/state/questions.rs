//! The questions that this node has asked others, and their answers so far.

use std::{
    collections::HashMap,
    task::{Poll, Waker},
};

use super::{Action, State};
use crate::{
    id::{IdHasher, NodeId},
    wire::{Build, NodeStatus, Sequence, SocketsReport},
};

/// What a node answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Older releases do not say who they are.
    pub from: Option<NodeId>,
    pub reply: Reply,
}

/// What the answer to a question can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// How many sockets the node has disconnected because of a change of session.
    Disconnected(u64),
    /// The user's sockets on the node.
    Sockets(SocketsReport),
    /// The status of the node.
    Status(Box<NodeStatus>),
    /// The node traces the user, or cannot because too many traces run there.
    Tracing { full: bool },
}

/// The questions that are open, by the number of the message that asked them.
pub(super) type Questions = HashMap<Sequence, Question, IdHasher>;

#[derive(Debug, Default)]
pub(super) struct Question {
    answers: Vec<Answer>,
    waiting: Option<Waker>,
}

impl State {
    /// Opens a question; returns the number that its message must carry.
    pub(in crate::bus::redis) fn ask(&mut self) -> Sequence {
        let seq = self.next();
        self.questions.insert(seq, Question::default());
        seq
    }

    /// Takes an answer; one to a question that is no longer open is ignored.
    pub(in crate::bus::redis) fn answered(
        &mut self,
        seq: Sequence,
        from: Option<NodeId>,
        reply: Reply,
    ) {
        if let Some(question) = self.questions.get_mut(&seq) {
            question.answers.push(Answer { from, reply });
            let waiting = question.waiting.take();
            self.actions.extend(waiting.map(Action::Wake));
        }
    }

    /// Whether this many nodes have answered.
    pub(in crate::bus::redis) fn poll_answers(
        &mut self,
        seq: Sequence,
        nodes: usize,
        waker: &Waker,
    ) -> Poll<()> {
        match self.questions.get_mut(&seq) {
            Some(question) if question.answers.len() < nodes => {
                question.waiting = Some(waker.clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    pub(in crate::bus::redis) fn answers(&self, seq: Sequence) -> &[Answer] {
        let question = self.questions.get(&seq);
        question.map_or(&[], |question| question.answers.as_slice())
    }

    /// The other live nodes that have not answered.
    pub(in crate::bus::redis) fn silent(&self, seq: Sequence) -> Vec<NodeId> {
        let answers = self.answers(seq);
        let is_silent = |node: &&NodeId| {
            !answers
                .iter()
                .any(|answer| answer.from.as_ref() == Some(*node))
        };
        let peers = self.peers.builds().map(|(node, _)| node);
        peers.filter(is_silent).cloned().collect()
    }

    /// The other live nodes, and what they run.
    pub(in crate::bus::redis) fn peers(&self) -> Vec<(NodeId, Build)> {
        let builds = self.peers.builds();
        builds
            .map(|(node, build)| (node.clone(), build.clone()))
            .collect()
    }

    pub(in crate::bus::redis) fn close_question(&mut self, seq: Sequence) {
        self.questions.remove(&seq);
    }
}
