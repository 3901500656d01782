//! What this node has asked the others, and what they have answered so far.

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
    /// Older releases do not give their name.
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
    /// How the node is.
    Status(Box<NodeStatus>),
    /// The node traces the user, or cannot as too many traces run there.
    Tracing { full: bool },
}

/// The questions that are open, by the number of the message that asked them.
#[derive(Debug, Default)]
pub(super) struct Questions(HashMap<Sequence, Question, IdHasher>);

#[derive(Debug, Default)]
struct Question {
    answers: Vec<Answer>,
    waiting: Option<Waker>,
}

impl Questions {
    pub(super) fn open(&mut self, seq: Sequence) {
        self.0.insert(seq, Question::default());
    }

    /// Takes an answer; returns who waits for it. One that comes too late is ignored.
    pub(super) fn answered(&mut self, seq: Sequence, answer: Answer) -> Option<Waker> {
        let question = self.0.get_mut(&seq)?;
        question.answers.push(answer);
        question.waiting.take()
    }

    pub(super) fn answers(&self, seq: Sequence) -> &[Answer] {
        self.0
            .get(&seq)
            .map_or(&[], |question| question.answers.as_slice())
    }

    pub(super) fn poll(&mut self, seq: Sequence, nodes: usize, waker: &Waker) -> Poll<()> {
        match self.0.get_mut(&seq) {
            Some(question) if question.answers.len() < nodes => {
                question.waiting = Some(waker.clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    pub(super) fn close(&mut self, seq: Sequence) {
        self.0.remove(&seq);
    }
}

impl State {
    /// Begins to gather answers to the message of the number that it returns.
    pub(in crate::bus::redis) fn ask(&mut self) -> Sequence {
        let seq = self.next();
        self.questions.open(seq);
        seq
    }

    pub(in crate::bus::redis) fn answered(
        &mut self,
        seq: Sequence,
        from: Option<NodeId>,
        reply: Reply,
    ) {
        let waiting = self.questions.answered(seq, Answer { from, reply });
        self.actions.extend(waiting.map(Action::Wake));
    }

    /// Whether so many nodes have answered.
    pub(in crate::bus::redis) fn poll_answers(
        &mut self,
        seq: Sequence,
        nodes: usize,
        waker: &Waker,
    ) -> Poll<()> {
        self.questions.poll(seq, nodes, waker)
    }

    pub(in crate::bus::redis) fn answers(&self, seq: Sequence) -> &[Answer] {
        self.questions.answers(seq)
    }

    /// The other nodes that are known to live and have not answered.
    pub(in crate::bus::redis) fn silent(&self, seq: Sequence) -> Vec<NodeId> {
        let answers = self.questions.answers(seq);
        let answered = |node: &&NodeId| {
            !answers
                .iter()
                .any(|answer| answer.from.as_ref() == Some(*node))
        };
        self.peers.names().filter(answered).cloned().collect()
    }

    /// The other nodes that are known to live.
    pub(in crate::bus::redis) fn peers(&self) -> Vec<(NodeId, Build)> {
        let builds = self.peers.builds();
        builds
            .map(|(node, build)| (node.clone(), build.clone()))
            .collect()
    }

    pub(in crate::bus::redis) fn close_question(&mut self, seq: Sequence) {
        self.questions.close(seq);
    }
}
