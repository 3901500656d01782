//! Looks at the nodes again and again: which of them are linked, and whether they say so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{World, process::Process};
use crate::network::REFUSAL;

/// How long a node may be unable to do its work before `/readyz` says so. It takes that long to miss three
/// pings on a subscriber link that still brings messages, but takes no subscriptions.
const UNREADY_LIMIT: Duration = Duration::from_secs(6);
const PERIOD: Duration = Duration::from_millis(150);

/// Since when a node has been ready, but not able to do its work for this reason.
type Deaths = BTreeMap<(usize, &'static str), Instant>;

impl World {
    pub(super) async fn watch(self: Arc<Self>) {
        let mut deaths = Deaths::new();
        loop {
            for process in self.all_processes() {
                self.look_at(&process, &mut deaths);
            }
            sleep(PERIOD).await;
        }
    }

    fn look_at(&self, process: &Process, dead_since: &mut Deaths) {
        let (now, number) = (Instant::now(), process.number);
        let ready = process.node.check();
        let deaths = self.network.deaths(number);
        let is_impaired = self.network.is_impaired(number);
        if ready.is_err() || is_impaired || !deaths.is_empty() {
            self.mark_unlinked(number, now);
        }
        if is_impaired || deaths.iter().any(|what| *what != REFUSAL) {
            self.story.told().troubled[number].push(now);
        }
        let is_ready = ready.is_ok();
        // One that has said so, and is ready again, may have met another trouble.
        dead_since.retain(|(node, what), _| *node != number || is_ready && deaths.contains(what));
        for what in deaths.into_iter().filter(|_| is_ready) {
            let since = *dead_since.entry((number, what)).or_insert(now);
            if now - since > UNREADY_LIMIT {
                let mut told = self.story.told();
                let since = told.at(since);
                let wrong = format!(
                    "node {number} says that it is ready, but {what} is dead since {since}"
                );
                if !told.wrongs.contains(&wrong) {
                    told.wrongs.push(wrong);
                }
            }
        }
    }
}
