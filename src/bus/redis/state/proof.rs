//! Whether the server at the end of the command connection is a master, as far as events show.
//!
//! A replica accepts PUBLISH, but not the script that publishes an event as if it were a write. An event that
//! gets through by the script proves that the server was a master then.

use std::time::{Duration, Instant};

use super::{Action, State};

/// How long a proof counts. The script costs Redis a fifth more than a plain PUBLISH, so a busy node must not
/// use it for each event; and messages to a server so soon after its demotion may still be passed on.
pub(super) const LIFE: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(super) struct Proof {
    /// The number of the command connection.
    link: u64,
    script: Script,
    /// The time when the newest event that got through by the script began.
    newest: Option<Instant>,
}

/// Whether the server has the script.
#[derive(Debug, Default, PartialEq, Eq)]
enum Script {
    #[default]
    Wanted,
    /// It is being loaded, or could not be loaded.
    Requested,
    Loaded,
}

impl Proof {
    /// Notes the command connection; returns whether it is a new one.
    pub(super) fn sees(&mut self, link: u64) -> bool {
        let is_new = link != self.link;
        if is_new {
            *self = Self {
                link,
                ..Self::default()
            };
        }
        is_new
    }

    /// Whether an event that begins now must be published by the script.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let is_fresh = self.newest.is_some_and(|at| now < at + LIFE);
        self.script == Script::Loaded && !is_fresh
    }

    /// An event got through by the script that began at that time.
    pub(super) fn came(&mut self, link: u64, began: Instant) {
        if link == self.link {
            self.newest = self.newest.max(Some(began));
        }
    }

    /// Redis has refused an event; returns whether the script has to be loaded again.
    pub(super) fn is_doubted(&mut self, link: u64) -> bool {
        let is_loaded = link == self.link && self.script == Script::Loaded;
        if is_loaded {
            self.script = Script::Wanted;
        }
        is_loaded
    }
}

impl State {
    /// Begins to load the script if it is needed; returns the number of the command connection, with which
    /// [`Self::script_loaded`] must follow if it succeeds.
    pub(in crate::bus::redis) fn begin_loading(&mut self) -> Option<u64> {
        let is_wanted = self.proof.script == Script::Wanted && self.command.is_connected;
        is_wanted.then(|| {
            self.proof.script = Script::Requested;
            self.proof.link
        })
    }

    /// The server at the end of that command connection has the script, and lets this node run it.
    pub(in crate::bus::redis) fn script_loaded(&mut self, link: u64) {
        if link == self.proof.link {
            self.proof.script = Script::Loaded;
        }
    }

    /// Tries again to load the script if that has failed.
    pub(super) fn retry_proof(&mut self) {
        if self.proof.script == Script::Requested {
            self.proof.script = Script::Wanted;
            self.actions.push(Action::CheckRole);
        }
    }
}
