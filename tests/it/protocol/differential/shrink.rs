//! Makes a conversation shorter for as long as its two sides differ.

use super::{Servers, comparison::Difference, conversation::Step};

/// Returns the shortest conversation that still differs after steps and packets are removed.
pub async fn shrink(
    servers: &Servers,
    mut steps: Vec<Step>,
    mut difference: Difference,
) -> (Vec<Step>, Difference) {
    // Later steps did not cause it.
    steps.truncate(difference.at + 1);
    for at in (0..steps.len()).rev() {
        let mut shorter = steps.clone();
        shorter.remove(at);
        if let Some(found) = servers.compare(&shorter).await.difference {
            (steps, difference) = (shorter, found);
        }
    }
    for at in 0..steps.len() {
        let Step::Send(_, packets) = &steps[at] else {
            continue;
        };
        for packet in (0..packets.len()).rev() {
            let mut shorter = steps.clone();
            let Step::Send(_, packets) = &mut shorter[at] else {
                continue;
            };
            packets.remove(packet);
            if packets.is_empty() {
                continue;
            }
            if let Some(found) = servers.compare(&shorter).await.difference {
                (steps, difference) = (shorter, found);
            }
        }
    }
    (steps, difference)
}
