//! Asks the gateway to close a share of its connections, so that their clients come back on other
//! nodes.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::wire::{DrainAnswer, Share};

/// Asks for the oldest connections to be closed. It takes the place of what is left of the request
/// before it.
#[derive(Debug)]
pub struct MoveRequest {
    pub share: Share,
    /// What closing them is spread over.
    pub over: Duration,
    /// Dropped without an answer if the node is shutting down.
    pub answer: oneshot::Sender<DrainAnswer>,
}
