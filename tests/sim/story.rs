//! What happened in a run: for people in lines, for the invariants in facts.

use std::{
    fmt::{self, Display},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::redis::Deed;

#[derive(Debug, Clone)]
pub(super) struct Story(Arc<Mutex<Told>>);

/// The facts. Users, sessions and events are numbers, as in their names.
#[derive(Debug)]
pub(super) struct Told {
    start: Instant,
    /// How long Redis remembers a session.
    pub(super) ttl: Duration,
    pub(super) lines: Vec<String>,
    pub(super) sockets: Vec<Socket>,
    pub(super) emits: Vec<Emit>,
    pub(super) logouts: Vec<Logout>,
    pub(super) kicks: Vec<Kick>,
    pub(super) answers: Vec<Answer>,
    /// Every session that was stored, in order.
    pub(super) stored: Vec<Stored>,
    /// Every session that was forgotten because its time was over.
    pub(super) expired: Vec<(Instant, usize, usize)>,
    /// What was published on the channels of users, in order.
    pub(super) published: Vec<Published>,
    /// From when to when data was lost, so that nobody could know better.
    pub(super) losses: Vec<(Instant, Instant)>,
    /// When somebody else wrote the session of a user without announcing it.
    pub(super) meddled: Vec<(Instant, usize)>,
    /// By node: when its process began and ended.
    pub(super) runs: Vec<(Instant, Option<Instant>)>,
    /// By node: when its links were bad, or it was not ready.
    pub(super) unlinked: Vec<Vec<Instant>>,
    /// By node: when it might not get what was announced, or not at once.
    pub(super) deaf: Vec<Vec<Instant>>,
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
    pub(super) began: Instant,
    /// When the node let it in.
    pub(super) admitted: Option<Instant>,
    /// How long its session was going to be kept then, if it was the stored one.
    pub(super) left: Option<Duration>,
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

#[derive(Debug)]
pub(super) struct Kick {
    pub(super) user: usize,
    pub(super) invalidates: bool,
    pub(super) started: Instant,
    pub(super) answered: Option<(Instant, bool)>,
}

/// What an operator was told about a user, or about all nodes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) user: Option<usize>,
    pub(super) node: usize,
    pub(super) started: Instant,
    pub(super) answered: Instant,
    /// Whether no node is missing.
    pub(super) complete: bool,
    pub(super) nodes: Vec<AskedNode>,
    /// With their nodes.
    pub(super) sockets: Vec<(usize, usize)>,
}

/// What became of the question to one node.
#[derive(Debug)]
pub(super) struct AskedNode {
    pub(super) node: usize,
    pub(super) has_answered: bool,
    pub(super) sockets: Option<usize>,
}

impl Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let complete = if self.complete { "all" } else { "not all" };
        write!(f, "{complete} of it:")?;
        for asked in &self.nodes {
            let answered = if asked.has_answered { "" } else { " is silent" };
            write!(f, " node {}{answered}", asked.node)?;
        }
        for (socket, node) in &self.sockets {
            write!(f, ", client {socket} at node {node}")?;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Stored {
    pub(super) at: Instant,
    pub(super) user: usize,
    pub(super) session: usize,
    /// The session that it replaced.
    pub(super) over: Option<usize>,
    /// The node whose command it was; `None` if somebody else wrote it.
    pub(super) node: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Published {
    pub(super) at: Instant,
    pub(super) user: usize,
    pub(super) by: By,
    pub(super) what: Message,
}

/// Over which connection a node has done something.
#[derive(Debug, Clone, Copy)]
pub(super) struct By {
    pub(super) node: usize,
    pub(super) connection: usize,
    pub(super) server: usize,
    /// Another server was the master already.
    pub(super) is_replaced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Event(usize),
    Session(usize),
}

impl Story {
    pub(super) fn begin(ttl: Duration) -> Self {
        Self(Arc::new(Mutex::new(Told {
            start: Instant::now(),
            ttl,
            lines: Vec::new(),
            sockets: Vec::new(),
            emits: Vec::new(),
            logouts: Vec::new(),
            kicks: Vec::new(),
            answers: Vec::new(),
            stored: Vec::new(),
            expired: Vec::new(),
            published: Vec::new(),
            losses: Vec::new(),
            meddled: Vec::new(),
            runs: Vec::new(),
            unlinked: Vec::new(),
            deaf: Vec::new(),
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

    /// A server has done something, at the command of a node if at any.
    pub(super) fn did(&self, by: Option<By>, deed: Deed) {
        self.told().did(by, deed);
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

    fn did(&mut self, by: Option<By>, deed: Deed) {
        let at = Instant::now();
        match deed {
            Deed::Stored { key, value, over } => {
                let Some(user) = number(&key, 'u') else {
                    return;
                };
                let Some(session) = session_of(&value) else {
                    return self.say("redis", format_args!("stores {value} for u{user}"));
                };
                self.say("redis", format_args!("stores s{session} for u{user}"));
                self.stored.push(Stored {
                    at,
                    user,
                    session,
                    over: over.as_deref().and_then(session_of),
                    node: by.map(|by| by.node),
                });
            }
            Deed::Expired { key, value } => {
                if let (Some(user), Some(session)) = (number(&key, 'u'), session_of(&value)) {
                    self.say("redis", format_args!("forgets s{session} of u{user}"));
                    self.expired.push((at, user, session));
                }
            }
            Deed::Published { channel, message } => {
                let is_of_user = channel.contains("user:");
                let Some(user) = number(&channel, 'u').filter(|_| is_of_user) else {
                    return;
                };
                let announced = message.split_once("\"session\":\"s");
                let what = match announced {
                    _ if message.contains("session_held") => {
                        return self
                            .say("redis", format_args!("passes on what is held of u{user}"));
                    }
                    Some((_, session)) if !message.contains('\n') => {
                        let digits = session.chars().take_while(char::is_ascii_digit);
                        let session = digits.collect::<String>().parse().expect("a number");
                        self.say("redis", format_args!("announces s{session} for u{user}"));
                        Message::Session(session)
                    }
                    None if !message.contains('\n') => {
                        return self.say("redis", format_args!("announces a kick of u{user}"));
                    }
                    _ => {
                        let event = number(&message, '\n').expect("an event ends in its payload");
                        self.say("redis", format_args!("publishes event {event} for u{user}"));
                        Message::Event(event)
                    }
                };
                let by = by.expect("nobody else publishes");
                self.published.push(Published { at, user, by, what });
            }
        }
    }

    /// Whether the node's links were good and it was ready from the one time to the other.
    pub(super) fn was_linked(&self, node: usize, from: Instant, to: Instant) -> bool {
        !self.unlinked[node]
            .iter()
            .any(|time| (from..=to).contains(time))
    }

    /// Whether the node's process has run from the one time to the other.
    pub(super) fn has_run(&self, node: usize, from: Instant, to: Instant) -> bool {
        let (start, end) = self.runs[node];
        start < from && end.is_none_or(|end| end > to)
    }

    /// Whether the node heard at once what was announced, from the one time to the other.
    pub(super) fn was_hearing(&self, node: usize, from: Instant, to: Instant) -> bool {
        !self.deaf[node]
            .iter()
            .any(|time| (from..=to).contains(time))
    }

    /// Whether every command of the node was answered, from the one time to the other.
    pub(super) fn was_answered(&self, node: usize, from: Instant, to: Instant) -> bool {
        !self.troubled[node]
            .iter()
            .any(|time| (from..=to).contains(time))
    }

    /// How an event was published, if it was.
    pub(super) fn publication(&self, event: usize) -> Option<By> {
        let mut published = self.published.iter();
        let published = published.find(|published| published.what == Message::Event(event));
        published.map(|published| published.by)
    }

    /// Whether data was lost between the two times.
    pub(super) fn has_lost(&self, from: Instant, to: Instant) -> bool {
        let mut losses = self.losses.iter();
        losses.any(|(first, last)| *first <= to && *last >= from)
    }
}

/// The session that a stored text means.
pub(super) fn session_of(text: &str) -> Option<usize> {
    let session: String = serde_json::from_str(text).ok()?;
    session.strip_prefix('s')?.parse().ok()
}

/// The number that a text ends in, behind this letter.
fn number(text: &str, letter: char) -> Option<usize> {
    let (_, number) = text.rsplit_once(letter)?;
    number.parse().ok()
}
