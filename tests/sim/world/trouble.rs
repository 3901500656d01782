//! How things break, and are mended.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{World, key};
use crate::{
    network::Which,
    plan::{Fault, Meddling},
    story::session_of,
};

/// How long a node goes on to rely on a master that has become a replica.
const PROOF_LIFE: Duration = Duration::from_millis(10);

impl World {
    pub(super) fn break_something(self: &Arc<Self>, fault: Fault) {
        self.story.say("fault", format_args!("{fault:?}"));
        let now = Instant::now();
        self.mark_all_unlinked(now);
        if !matches!(
            fault,
            Fault::Lose(_, Which::Commands, _) | Fault::Stall(_, Which::Commands, ..)
        ) {
            let mut told = self.story.told();
            told.deaf.iter_mut().for_each(|times| times.push(now));
        }
        if !matches!(
            fault,
            Fault::Flush | Fault::Full(_) | Fault::ReadOnly(_) | Fault::Mute(_)
        ) {
            let mut told = self.story.told();
            told.troubled.iter_mut().for_each(|times| times.push(now));
        }
        let network = &self.network;
        let number = |place: usize| self.process(place).number;
        match fault {
            Fault::Cut(place, which) => network.cut(number(place), which),
            Fault::Lose(place, which, direction) => network.lose(number(place), which, direction),
            Fault::Stall(place, which, direction, time) => {
                network.stall(number(place), which, direction, time);
                self.after(time, "the link goes on", |_| {});
            }
            Fault::Slow(place, which, direction, time) => {
                network.slow(number(place), which, direction, time);
            }
            Fault::Freeze(time) => {
                network.freeze(true);
                self.after(time, "redis goes on", |world| world.network.freeze(false));
            }
            Fault::Restart { down, keeps_data } => {
                network.stop();
                network.inner().redis().restart(keeps_data, now);
                if !keeps_data {
                    self.lose_data(Duration::ZERO);
                }
                self.after(down, "redis is up", |world| world.network.start());
            }
            Fault::Flush => {
                network.inner().redis().flush(now);
                self.lose_data(Duration::ZERO);
            }
            Fault::Full(time) => {
                network.inner().redis().is_full = true;
                self.after(time, "redis has room", |world| {
                    world.network.inner().redis().is_full = false;
                });
            }
            Fault::ReadOnly(time) => {
                network.inner().redis().is_replica = true;
                self.after(time, "redis is the master again", |world| {
                    world.network.inner().redis().is_replica = false;
                });
            }
            Fault::Mute(time) => {
                network.inner().redis().is_mute = true;
                self.after(time, "redis lets publish again", |world| {
                    world.network.inner().redis().is_mute = false;
                });
            }
            Fault::FailOver { lag, down } => {
                network.stop();
                network.fail_over(lag);
                self.lose_data(Duration::ZERO);
                self.after(down, "another redis is up", |world| world.network.start());
            }
            Fault::Split { lag, unaware } => {
                network.fail_over(lag);
                self.lose_data(unaware + PROOF_LIFE);
                self.after(unaware, "the old redis is a replica", |world| {
                    world.network.demote();
                });
            }
        }
    }

    /// Somebody else writes.
    pub(super) fn meddle(&self, user: usize, what: Meddling) {
        let now = Instant::now();
        let key = key(user);
        let mut inner = self.network.inner();
        let redis = inner.redis();
        let stored = redis.text(&key, now);
        let session = stored.as_ref().and_then(|(text, _)| session_of(text));
        let value = match what {
            Meddling::Session(session) => Some(format!("\"s{session}\"")),
            Meddling::Respelt => {
                let Some(session) = session else { return };
                Some(format!(" \"\\u0073{session}\""))
            }
            Meddling::Null => Some("null".to_owned()),
            Meddling::Deleted => None,
        };
        self.story
            .say("meddler", format_args!("{what:?} for u{user}"));
        redis.put(&key, value.as_deref(), now);
        inner.tell();
        drop(inner);
        self.story.told().meddled.push((now, user));
        if let Meddling::Null | Meddling::Deleted = what {
            self.lose_data(Duration::ZERO);
        }
    }

    fn lose_data(&self, time: Duration) {
        let now = Instant::now();
        self.story.told().losses.push((now, now + time));
    }

    fn after(
        self: &Arc<Self>,
        time: Duration,
        what: &'static str,
        mend: impl FnOnce(&Self) + Send + 'static,
    ) {
        let world = self.clone();
        let mending = tokio::spawn(async move {
            sleep(time).await;
            world.story.say("fault", what);
            mend(&world);
        });
        self.mending.lock().unwrap().push(mending);
    }

    /// Waits until nothing is broken any more, except for dead links, which the nodes have to notice
    /// themselves.
    pub(super) async fn heal(&self) {
        let mending = std::mem::take(&mut *self.mending.lock().unwrap());
        for mending in mending {
            mending.await.ok();
        }
        self.network.heal();
    }

    pub(super) fn mark_unlinked(&self, node: usize, now: Instant) {
        self.story.told().unlinked[node].push(now);
    }

    fn mark_all_unlinked(&self, now: Instant) {
        let mut told = self.story.told();
        told.unlinked.iter_mut().for_each(|times| times.push(now));
    }
}
