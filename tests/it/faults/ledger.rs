//! Records what was sent, returned and received, and when, without judging it.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

/// The nodes, by their number.
pub const NODES: [usize; 2] = [0, 1];

/// Shared by all tasks that record something.
#[derive(Default)]
pub struct Ledger(Mutex<Book>);

/// Entries refer to each other by their place in these lists.
#[derive(Default)]
pub struct Book {
    pub events: Vec<Event>,
    pub lives: Vec<Life>,
    pub logouts: Vec<Logout>,
    pub samples: Vec<Sample>,
    pub outages: Vec<Outage>,
    pub strains: Vec<Strain>,
}

/// An event that was emitted; its payload is its number.
pub struct Event {
    pub user: usize,
    pub sender: usize,
    pub node: usize,
    pub sent: Instant,
    /// When, and with which status; `None` if no response came.
    pub answer: Option<(Instant, u16)>,
}

/// A socket from its CONNECT to the end of its connection.
pub struct Life {
    pub user: usize,
    pub node: usize,
    /// The user's sessions are numbered in the order in which they were made.
    pub session: usize,
    pub joined: Instant,
    /// When it was dismissed, or ended.
    pub left: Option<Instant>,
    /// When its connection ended.
    pub ended: Option<Instant>,
    /// The numbers of the events that came, as they came.
    pub got: Vec<usize>,
}

/// One attempt to make a session the only one of its user.
pub struct Logout {
    pub user: usize,
    pub session: usize,
    pub sent: Instant,
    /// When it returned 200.
    pub done: Option<Instant>,
}

/// What `/readyz` said.
pub struct Sample {
    pub node: usize,
    pub asked: Instant,
    pub answered: Instant,
    /// 0 if no response came.
    pub status: u16,
    pub reason: String,
}

/// How a node is hit by a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// It cannot work until the fault is over, and must say so.
    Deaf,
    /// It loses something that it can replace immediately.
    Blip,
    /// The process ends.
    Gone,
}

/// A time in which a node is not bound to deliver what others send.
pub struct Outage {
    pub node: usize,
    pub hit: Hit,
    pub from: Instant,
    /// When the cause was over.
    pub healed: Option<Instant>,
    /// When events were seen to arrive again.
    pub until: Option<Instant>,
}

/// A time in which the machine was so busy that no limit in seconds can be kept.
pub struct Strain {
    pub from: Instant,
    pub to: Instant,
    /// Noticed in a reply of Redis, which a fault may delay too.
    pub of_redis: bool,
}

/// What takes longer than this, and should take milliseconds, is a strain.
const STRAIN: Duration = Duration::from_millis(250);
/// What a strain may do before it is noticed, and after it has passed.
const BEFORE_STRAIN: Duration = Duration::from_secs(1);
const AFTER_STRAIN: Duration = Duration::from_secs(5);

impl Ledger {
    pub fn open(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("nobody panics while writing")
    }

    /// Returns the event's number.
    pub fn sent(&self, user: usize, sender: usize, node: usize) -> usize {
        let mut book = self.open();
        book.events.push(Event {
            user,
            sender,
            node,
            sent: Instant::now(),
            answer: None,
        });
        book.events.len() - 1
    }

    pub fn answered(&self, event: usize, status: u16) {
        self.open().events[event].answer = Some((Instant::now(), status));
    }

    /// Returns the life's number.
    pub fn joined(&self, user: usize, node: usize, session: usize) -> usize {
        let mut book = self.open();
        book.lives.push(Life {
            user,
            node,
            session,
            joined: Instant::now(),
            left: None,
            ended: None,
            got: Vec::new(),
        });
        book.lives.len() - 1
    }

    pub fn got(&self, life: usize, event: usize) {
        self.open().lives[life].got.push(event);
    }

    pub fn left(&self, life: usize) {
        self.open().lives[life].left = Some(Instant::now());
    }

    pub fn ended(&self, life: usize) {
        self.open().lives[life].ended = Some(Instant::now());
    }

    /// Records a strain, if too long has passed since `from`.
    pub fn felt(&self, from: Instant, of_redis: bool) {
        let to = Instant::now();
        if to - from > STRAIN {
            self.open().strains.push(Strain { from, to, of_redis });
        }
    }

    /// Returns the attempt's number.
    pub fn replacing(&self, user: usize, session: usize) -> usize {
        let mut book = self.open();
        book.logouts.push(Logout {
            user,
            session,
            sent: Instant::now(),
            done: None,
        });
        book.logouts.len() - 1
    }

    pub fn replaced(&self, logout: usize) {
        self.open().logouts[logout].done = Some(Instant::now());
    }
}

impl Book {
    /// The outages of the node that overlap with this time.
    pub fn outages_of(
        &self,
        node: usize,
        from: Instant,
        to: Instant,
    ) -> impl Iterator<Item = &Outage> {
        self.outages.iter().filter(move |outage| {
            outage.node == node
                && outage.from <= to
                && outage.until.is_none_or(|until| until >= from)
        })
    }

    /// Whether a fault or a busy machine may explain what the node did in this time.
    pub fn is_excused(&self, node: usize, from: Instant, to: Instant) -> bool {
        self.outages_of(node, from, to).next().is_some() || self.is_strained(from, to)
    }

    pub fn is_strained(&self, from: Instant, to: Instant) -> bool {
        let is_fault = |strain: &Strain| {
            self.outages.iter().any(|outage| {
                outage.hit == Hit::Deaf
                    && outage.from <= strain.to
                    && outage.healed.is_none_or(|healed| strain.from <= healed)
            })
        };
        let strains = self.strains.iter();
        strains
            .filter(|strain| !strain.of_redis || !is_fault(strain))
            .any(|strain| strain.from - BEFORE_STRAIN <= to && from <= strain.to + AFTER_STRAIN)
    }

    /// When a caller first began to replace the session of this life.
    pub fn doomed(&self, life: &Life) -> Option<Instant> {
        let newer = self
            .logouts
            .iter()
            .filter(|logout| logout.user == life.user && logout.session > life.session);
        newer.map(|logout| logout.sent).min()
    }
}
