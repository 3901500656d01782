//! Checks the nodes periodically: which of them are linked, and whether they say so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sockd::node::NotReady;
use tokio::time::{Instant, sleep};

use super::{World, process::Process};
use crate::network::{COMMANDS, OLD_MASTER, ONE_WAY, REFUSAL};

/// How long a node may be unable to do its work before `/readyz` says so: a hello begins every 2 s and
/// takes at most 1 s.
const UNREADY_LIMIT: Duration = Duration::from_millis(3_500);
/// How long if no hello shows it: a subscriber link that takes no subscriptions while nobody waits
/// for one misses three pings, and a master that was replaced may not know that for 2 s.
const UNSEEN_LIMIT: Duration = Duration::from_secs(6);
const PERIOD: Duration = Duration::from_millis(150);

/// Since when a node has been ready, but not able to do its work for this reason.
type Deaths = BTreeMap<(usize, &'static str), Instant>;

/// Whether a node that says this gets what is announced at once.
fn hears(ready: &Result<(), NotReady>) -> bool {
    use sockd::bus::NotReady::{EventUnanswered, HelloUnanswered};
    match ready {
        Ok(()) | Err(NotReady::Store(_)) => true,
        Err(NotReady::Bus(why)) => matches!(why, EventUnanswered | HelloUnanswered),
        Err(NotReady::Draining | NotReady::Unknown) => false,
    }
}

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
        let only_commands = deaths.iter().all(|what| *what == COMMANDS);
        if is_impaired || !only_commands || !hears(&ready) {
            self.story.told().deaf[number].push(now);
        }
        if is_impaired || deaths.iter().any(|what| *what != REFUSAL) {
            self.story.told().troubled[number].push(now);
        }
        let is_ready = ready.is_ok();
        // One that has said so, and is ready again, may have met another trouble.
        dead_since.retain(|(node, what), _| *node != number || is_ready && deaths.contains(what));
        for what in deaths.into_iter().filter(|_| is_ready) {
            let since = dead_since.entry((number, what)).or_insert(now);
            // For less than a period, which nobody has seen.
            if self
                .network
                .worked(number, what)
                .is_some_and(|at| at > *since)
            {
                *since = now;
            }
            let since = *since;
            let limit = match what {
                ONE_WAY | OLD_MASTER => UNSEEN_LIMIT,
                _ => UNREADY_LIMIT,
            };
            if now - since > limit {
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
