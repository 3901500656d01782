//! Whether events that nobody received went to a master.

use super::{Action, CommandLink, Publication, State};

impl State {
    /// Begins a check of the role of the server, if an event needs one. Returns the number of the command
    /// connection, with which [`Self::role_checked`] must follow.
    pub(in crate::bus::redis) fn begin_role_check(&mut self) -> Option<u64> {
        let CommandLink {
            number,
            is_connected,
            ..
        } = self.command;
        let emits = &mut self.emits;
        emits.asked.append(&mut emits.unproven);
        if emits.asked.is_empty() {
            return None;
        }
        if !is_connected {
            self.role_checked(number, None);
            return None;
        }
        Some(number)
    }

    /// The server of that command connection is a replica, is a master, or did not say (`None`).
    pub(in crate::bus::redis) fn role_checked(&mut self, link: u64, is_replica: Option<bool>) {
        for seq in std::mem::take(&mut self.emits.asked) {
            let Some(emit) = self.emits.by_seq.get_mut(&seq) else {
                continue;
            };
            if emit.publication != Publication::Unproven {
                continue;
            }
            emit.publication = match is_replica.filter(|_| emit.link == link) {
                Some(false) => Publication::Received(0),
                Some(true) => Publication::Misplaced,
                None => Publication::Failed,
            };
            self.settle(seq);
        }
        if is_replica == Some(true) {
            self.actions.push(Action::FindMaster);
        }
    }
}
