//! What must hold once things have been quiet for a while.

use std::{collections::BTreeSet, time::Duration};

use sockd::node::DECISION_LIMIT;
use tokio::time::{Instant, sleep};

use super::{World, client::Recorder, key, session_id, user_id};
use crate::{
    plan::USERS,
    story::{Socket, session_of},
};

impl World {
    /// All nodes are ready, and a user has live sockets of one session, which is the stored one.
    pub(super) fn check_quiet(&self) {
        for process in self.all_processes() {
            if let Err(why) = process.node.check() {
                self.wrong(format!(
                    "node {} is not ready although all is well: {why}",
                    process.number
                ));
            }
        }
        for user in 0..USERS {
            let stored = self
                .network
                .inner()
                .redis()
                .text(&key(user), Instant::now());
            let live = self.live_sockets(user);
            let sessions: BTreeSet<usize> = live.iter().map(|(_, session)| *session).collect();
            if sessions.len() > 1 {
                self.wrong(format!(
                    "u{user} has live sockets of sessions {sessions:?} at once: {live:?}"
                ));
            }
            let Some(session) = sessions.first() else {
                continue;
            };
            let Some((text, left)) = stored else { continue };
            match session_of(&text) {
                Some(stored) if stored != *session => self.wrong(format!(
                    "u{user} has live sockets of s{session}, but s{stored} is active: {live:?}"
                )),
                // Renewed four times in its time.
                Some(_) if left < self.ttl / 2 => self.wrong(format!(
                    "s{session} of u{user} is live, but will be forgotten in {left:?}"
                )),
                _ => {}
            }
        }
    }

    /// The numbers of the user's live sockets and their sessions.
    fn live_sockets(&self, user: usize) -> Vec<(usize, usize)> {
        let told = self.story.told();
        let is_live = |socket: &Socket| {
            socket.user == user && socket.live.is_some() && socket.ended.is_none()
        };
        let sockets = told.sockets.iter().enumerate();
        let live = sockets.filter(|(_, socket)| is_live(socket));
        live.map(|(number, socket)| (number, socket.session))
            .collect()
    }

    /// Whatever has happened, a user can log in, connect and be reached.
    pub(super) async fn check_that_it_works(&self) {
        self.story.say("world", "does it still work?");
        for user in 0..USERS {
            let places = self.processes().len();
            let session = 1_000 + user;
            if !self.log_in(user, session, user % places, None).await {
                self.wrong(format!("u{user} cannot log in although all is well"));
            }
            let mut sockets = Vec::new();
            for process in self.all_processes() {
                let socket = self.new_socket(user, session, process.number);
                let recorder = Recorder::new(socket, &self.story);
                let (user, session) = (user_id(user), session_id(session));
                let deadline = Instant::now() + DECISION_LIMIT;
                match process
                    .node
                    .admit(&user, &session, recorder, deadline, None)
                    .await
                {
                    Ok(admitted) => {
                        admitted.activate().ok();
                        sockets.push((socket, admitted));
                    }
                    Err(refusal) => {
                        self.wrong(format!("{user} is refused although all is well: {refusal}"));
                    }
                }
            }
            let event = self.emit(user, (user + 1) % places, None).await;
            sleep(Duration::from_millis(200)).await;
            let Some(event) = event else {
                self.wrong(format!(
                    "no event goes out for u{user} although all is well"
                ));
                continue;
            };
            for (socket, _) in &sockets {
                let told = self.story.told();
                let mut received = told.sockets[*socket].received.iter();
                let has_got_it = received.any(|(_, number)| *number == event);
                drop(told);
                if !has_got_it {
                    self.wrong(format!("client {socket} does not get event {event}"));
                }
            }
        }
    }

    /// All clients have left, and nothing is left of them.
    pub(super) fn check_registries(&self) {
        for process in self.all_processes() {
            let number = process.number;
            let count = process.node.hub().count();
            let presences = process.node.hub().presences().count();
            if count + presences > 0 {
                self.wrong(format!(
                    "node {number} still has {count} sockets of {presences} users"
                ));
            }
            if process.node.traces().is_active() {
                self.wrong(format!("node {number} still traces somebody"));
            }
            if process.has_open_questions() {
                self.wrong(format!("node {number} still waits for answers"));
            }
            let channels = self.network.user_channels(number);
            if !channels.is_empty() {
                self.wrong(format!("node {number} still hears {channels:?}"));
            }
        }
    }

    fn wrong(&self, wrong: String) {
        self.story.told().wrongs.push(wrong);
    }
}
