//! Which of several sessions of a user stays when Redis has forgotten all of them.
//!
//! With nothing stored, a node cannot see that a session was replaced. So nodes tell each other which
//! sessions they hold, and when these were last found stored, which is when their last socket was let
//! in. The session that was found last stays.

use std::time::Duration;

use super::Node;
use crate::{
    bus::{self, Logout},
    error::chain,
    hub::Holding,
    id::{SessionId, UserId},
    metrics::SOCKETS_SWEPT,
    wire::UserMessage,
};

impl Node {
    /// Tells the other nodes what is held here; with `again`, also what they were told before.
    pub(super) async fn compare(
        &self,
        held: Vec<Holding>,
        again: bool,
    ) -> Result<(), bus::NotReady> {
        let held = held.into_iter().filter(|held| again || !held.is_told);
        let held: Vec<Holding> = held.collect();
        let message = |held: &Holding| {
            let age = held.found_before.elapsed().as_millis();
            let message = UserMessage::SessionHeld {
                session: held.session.clone(),
                age_ms: u64::try_from(age).unwrap_or(u64::MAX),
            };
            (held.user.clone(), message)
        };
        let messages: Vec<_> = held.iter().map(message).collect();
        self.bus.tell_peers(&messages).await?;
        held.iter().for_each(|held| self.hub.told(held));
        Ok(())
    }

    /// Compares the local sockets with a session that another node holds and last found stored at least
    /// this long ago. Those of other sessions go, unless theirs was certainly found later.
    pub(super) fn compare_with(&self, user: &UserId, session: &SessionId, age: Duration) {
        let Some(node) = self.me.upgrade() else {
            return;
        };
        // Handshakes of other sessions check again from here on, and later events wait.
        let logout = Logout::replaced_by(session);
        let Some(begun) = self.begin(user, &logout) else {
            return;
        };
        // The age has grown on its way, so what counts as newer here certainly is.
        let holding = self.hub.holding(user);
        let newer =
            holding.filter(|held| held.session != *session && held.found_after.elapsed() < age);
        let user = user.clone();
        self.lifecycle.spawn(async move {
            let Some(newer) = newer else {
                let count = node.finish(Some(begun), &user, logout.reason).await;
                SOCKETS_SWEPT.inc_by(count);
                return;
            };
            drop(begun);
            // The other node disconnects its sockets once it knows.
            if let Err(error) = node.compare(vec![newer], true).await {
                tracing::debug!(why = chain(&error), "cannot tell which session is newer");
            }
        });
    }
}
