//! What backends ask of the nodes.

use std::future::Future;

use sockd::{
    id::EventName,
    wire::{Event, LogoutReason},
};
use tokio::time::{Instant, timeout};

use super::{World, session_id, user_id};
use crate::{
    plan::Patience,
    story::{Emit, Kick, Logout},
};

impl World {
    /// Whether it was answered 200.
    pub(super) async fn log_in(
        &self,
        user: usize,
        session: usize,
        place: usize,
        patience: Patience,
    ) -> bool {
        let process = self.process(place);
        let logout = {
            let mut told = self.story.told();
            told.say(
                "backend",
                format_args!("logs u{user} in as s{session} at node {}", process.number),
            );
            told.logouts.push(Logout {
                user,
                session,
                node: process.number,
                started: Instant::now(),
                answered: None,
            });
            told.logouts.len() - 1
        };
        let what = format!("login s{session} of u{user}");
        let (user, session) = (user_id(user), session_id(session));
        let logging_in = process.node.force_logout(&user, &session);
        let Some(done) = self.wait(logging_in, patience, &what).await else {
            return false;
        };
        let mut told = self.story.told();
        let answer = match &done {
            Ok(done) => format!("200, {} disconnected", done.disconnected),
            Err(error) => format!("503, {}", sockd::error::chain(error)),
        };
        told.say("backend", format_args!("{what}: {answer}"));
        told.logouts[logout].answered = Some((Instant::now(), done.is_ok()));
        done.is_ok()
    }

    pub(super) async fn kick(&self, user: usize, fresh: Option<usize>, place: usize) {
        let process = self.process(place);
        let node = process.number;
        let started = Instant::now();
        let (kick, logout) = {
            let mut told = self.story.told();
            let session = fresh.map_or_else(String::new, |session| format!(", storing s{session}"));
            let what = format!("kicks u{user} at node {node}{session}");
            told.say("backend", what);
            told.kicks.push(Kick {
                user,
                invalidates: fresh.is_some(),
                started,
                answered: None,
            });
            // It replaces a session as a login does.
            told.logouts.extend(fresh.map(|session| Logout {
                user,
                session,
                node,
                started,
                answered: None,
            }));
            (told.kicks.len() - 1, told.logouts.len().wrapping_sub(1))
        };
        let (id, session) = (user_id(user), fresh.map(session_id));
        let done = process.node.kick(&id, LogoutReason::KICKED, session).await;
        let mut told = self.story.told();
        let answer = match &done {
            Ok(done) => format!("200, {} disconnected", done.disconnected),
            Err(error) => format!("503, {}", sockd::error::chain(error)),
        };
        told.say("backend", format_args!("kick of u{user}: {answer}"));
        let answered = Some((Instant::now(), done.is_ok()));
        told.kicks[kick].answered = answered;
        if fresh.is_some() {
            told.logouts[logout].answered = answered;
        }
    }

    /// Returns the event's number if it was answered 200.
    pub(super) async fn emit(
        &self,
        user: usize,
        place: usize,
        patience: Patience,
    ) -> Option<usize> {
        let process = self.process(place);
        let number = {
            let mut told = self.story.told();
            told.emits.push(Emit {
                user,
                node: process.number,
                started: Instant::now(),
                answered: None,
            });
            let number = told.emits.len() - 1;
            told.say(
                "backend",
                format_args!("sends event {number} to u{user} at node {}", process.number),
            );
            number
        };
        let what = format!("event {number}");
        let (user, event) = (user_id(user), event(number));
        let sending = process.node.emit(&user, &event);
        let done = self.wait(sending, patience, &what).await?;
        let mut told = self.story.told();
        let code = if done.is_ok() { 200 } else { 503 };
        told.say("backend", format_args!("{what}: {code}"));
        told.emits[number].answered = Some((Instant::now(), done.is_ok()));
        done.is_ok().then_some(number)
    }

    async fn wait<T>(
        &self,
        answer: impl Future<Output = T>,
        patience: Patience,
        what: &str,
    ) -> Option<T> {
        let Some(patience) = patience else {
            return Some(answer.await);
        };
        let answer = timeout(patience, answer).await.ok();
        if answer.is_none() {
            self.story.say("backend", format_args!("{what}: hangs up"));
        }
        answer
    }
}

fn event(number: usize) -> Event {
    let name = EventName::try_from("e").expect("a name");
    Event::new(name, &number.to_string())
}
