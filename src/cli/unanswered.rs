//! Why a node has not answered, for people.

use super::output;
use crate::{id::NodeId, wire::Answered};

/// `None` if it has.
pub(super) fn unanswered(node: &NodeId, release: &str, answered: Answered) -> Option<String> {
    let why = match answered {
        Answered::Yes => return None,
        Answered::TimedOut => "does not answer in time".to_owned(),
        Answered::Unreachable => "cannot be reached over Redis".to_owned(),
        Answered::TooOld => {
            let release = output::visible(release);
            format!("of release {release} does not know the question, upgrade it")
        }
    };
    Some(format!("node {} {why}", output::visible(node.as_str())))
}
