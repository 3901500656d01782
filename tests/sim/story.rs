//! What happened in a run: for people in lines, for the invariants in facts.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

#[derive(Debug, Clone)]
pub(super) struct Story(Arc<Mutex<Told>>);

/// The facts. Users, sessions and events are numbers, as in their names.
#[derive(Debug)]
pub(super) struct Told {
    start: Instant,
    pub(super) lines: Vec<String>,
    pub(super) sockets: Vec<Socket>,
    pub(super) emits: Vec<Emit>,
    pub(super) logouts: Vec<Logout>,
    /// Every session that was stored.
    pub(super) stored: Vec<(Instant, usize, usize)>,
    /// Every session that was announced.
    pub(super) announced: Vec<(Instant, usize, usize)>,
    /// When data was lost, so that nobody could know better.
    pub(super) losses: Vec<Instant>,
    /// By node: when its links were bad, or it was not ready.
    pub(super) unlinked: Vec<Vec<Instant>>,
    /// By node: when what it asked of Redis might not be answered, but done all the same.
    pub(super) troubled: Vec<Vec<Instant>>,
    /// What was seen to be wrong while the run went on.
    pub(super) wrongs: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) user: usize,
    pub(super) session: usize,
    pub(super) node: usize,
    /// Since when its client knows that it is in.
    pub(super) live: Option<Instant>,
    pub(super) ended: Option<Instant>,
    /// What its client got, and when.
    pub(super) received: Vec<(Instant, usize)>,
}

#[derive(Debug)]
pub(super) struct Emit {
    pub(super) user: usize,
    pub(super) node: usize,
    pub(super) started: Instant,
    /// When, and whether it was 200.
    pub(super) answered: Option<(Instant, bool)>,
}

#[derive(Debug)]
pub(super) struct Logout {
    pub(super) user: usize,
    pub(super) session: usize,
    pub(super) node: usize,
    pub(super) started: Instant,
    pub(super) answered: Option<(Instant, bool)>,
}

impl Story {
    pub(super) fn begin() -> Self {
        Self(Arc::new(Mutex::new(Told {
            start: Instant::now(),
            lines: Vec::new(),
            sockets: Vec::new(),
            emits: Vec::new(),
            logouts: Vec::new(),
            stored: Vec::new(),
            announced: Vec::new(),
            losses: Vec::new(),
            unlinked: Vec::new(),
            troubled: Vec::new(),
            wrongs: Vec::new(),
        })))
    }

    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, who: impl Display, what: impl Display) {
        self.told().say(who, what);
    }

    pub(super) fn stored(&self, key: &str, value: &str) {
        let mut told = self.told();
        if let (Some(user), Some(session)) = (number(key, 'u'), number(value, 's')) {
            told.stored.push((Instant::now(), user, session));
            told.say("redis", format_args!("stores s{session} for u{user}"));
        }
    }

    pub(super) fn published(&self, channel: &str, message: &str) {
        let mut told = self.told();
        let Some(user) = channel
            .contains("user:")
            .then(|| number(channel, 'u'))
            .flatten()
        else {
            return;
        };
        if !message.contains("session_changed") {
            let event = number(message, '\n').unwrap_or_default();
            told.say("redis", format_args!("publishes event {event} for u{user}"));
        } else if let Some((_, session)) = message.split_once("\"session\":\"s") {
            let session = session.chars().take_while(char::is_ascii_digit);
            let session = session.collect::<String>().parse().unwrap_or_default();
            told.announced.push((Instant::now(), user, session));
            told.say("redis", format_args!("announces s{session} for u{user}"));
        }
    }
}

impl Told {
    pub(super) fn say(&mut self, who: impl Display, what: impl Display) {
        let at = self.at(Instant::now());
        self.lines.push(format!("{at} {who:<9} {what}"));
    }

    /// A time of the run, as the lines have it.
    pub(super) fn at(&self, time: Instant) -> String {
        let at: Duration = time.duration_since(self.start);
        format!("{:>7.3}", at.as_secs_f64())
    }

    /// Whether the node's links were good and it was ready from the one time to the other.
    pub(super) fn was_linked(&self, node: usize, from: Instant, to: Instant) -> bool {
        !self.unlinked[node]
            .iter()
            .any(|time| (from..=to).contains(time))
    }

    /// Whether every command of the node was answered, from the one time to the other.
    pub(super) fn was_answered(&self, node: usize, from: Instant, to: Instant) -> bool {
        !self.troubled[node]
            .iter()
            .any(|time| (from..=to).contains(time))
    }

    /// Whether data was lost between the two times.
    pub(super) fn has_lost(&self, from: Instant, to: Instant) -> bool {
        self.losses.iter().any(|time| (from..=to).contains(time))
    }
}

/// The number that a text ends in, behind this letter.
fn number(text: &str, letter: char) -> Option<usize> {
    let (_, number) = text.rsplit_once(letter)?;
    number.trim_end_matches('"').parse().ok()
}
