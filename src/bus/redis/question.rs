//! A question to other nodes, and their answers.

use std::{future::poll_fn, sync::Arc};

use super::{Answer, RedisBus};
use crate::{id::NodeId, wire::Sequence};

/// Gathers the answers to one message until dropped.
#[derive(Debug)]
pub struct Question {
    bus: Arc<RedisBus>,
    seq: Sequence,
}

impl Question {
    pub(super) fn open(bus: &Arc<RedisBus>) -> Self {
        Self {
            seq: bus.state().ask(),
            bus: bus.clone(),
        }
    }

    /// The number that the message must carry.
    pub fn seq(&self) -> Sequence {
        self.seq
    }

    /// Resolves once this many nodes have answered. Cancellation-safe.
    pub async fn answered_by(&self, nodes: usize) {
        poll_fn(|context| {
            let mut state = self.bus.state();
            state.poll_answers(self.seq, nodes, context.waker())
        })
        .await;
    }

    /// The answers so far.
    pub fn answers(&self) -> Vec<Answer> {
        self.bus.state().answers(self.seq).to_vec()
    }

    /// The other live nodes that have not answered; some may not have been asked.
    pub fn silent(&self) -> Vec<NodeId> {
        self.bus.state().silent(self.seq)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.bus.state().close_question(self.seq);
    }
}
