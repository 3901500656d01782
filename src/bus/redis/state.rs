//! What the bus over Redis knows and decides: events go in, actions come out.
//!
//! No I/O, no lock, no clock and no task: time is passed in, and a task that waits leaves a [`Waker`].
//! [`super::RedisBus`] keeps one of these behind one lock, feeds it, delivers what [`State::take_deliveries`]
//! returns in that order, and carries out the [`Action`]s.
//!
//! # The subscriber connection
//!
//! | event | phase before → after | what else |
//! |---|---|---|
//! | [`State::catch_up`] | down → catching up | messages wait in their lanes |
//! | [`State::caught_up`] | catching up | what waited is delivered |
//! | [`State::ready`] | catching up → live | ready; a logged change |
//! | [`State::moved`] | live | messages wait; some channels have to be found again |
//! | [`State::followed`] | live | what waited is delivered; says hello |
//! | [`State::lost`] | any → down | not ready; channels to subscribe again; own events are late |
//! | [`State::hello_returned`] | live | ready, if it was not; peers silent for too long are forgotten |
//! | [`State::hello_returned`] | catching up | as above, but not ready yet |
//! | [`State::hello_returned`] twice | live, a change of subscriptions is overdue | ends the connection |
//! | [`State::hello_returned`] twice | live, nobody received an event in a Cluster, and no channel moved | ends the connection |
//! | [`State::hello_lost`] | live | not ready; three lost in a row end the connection |
//! | [`State::changes_overdue`] | live and ready | not ready until the change is confirmed; says hello |
//! | [`State::doubt`] | live and ready | not ready; says hello at once |
//! | [`State::doubt`] | anything else | nothing: it is not ready already |
//!
//! # An event of this node
//!
//! How it reaches the sockets of this node depends on what is known when it begins ([`State::emit`]):
//!
//! | Redis | the user's channel | then |
//! |---|---|---|
//! | away, a replica, or silent | wanted here | late at once, never published |
//! | away, a replica, or silent | not wanted | done: nobody here |
//! | there | subscribed | published, awaited over the bus |
//! | there | wanted, and the node is not ready | published, and late at once |
//! | there | not wanted here, or not yet subscribed | published |
//!
//! How it ends depends on what happens next. A late event is delivered after a look at the session:
//!
//! | published | delivered here | the caller gets |
//! |---|---|---|
//! | received by *n* | over the bus, or late | *n* nodes |
//! | received by nobody, awaited over the bus | late | as if refused; ends the subscriber connection, unless channels move |
//! | received by *n* | not awaited, the node was ready | *n* nodes |
//! | received by *n* | without the bus, as the node was not ready | done if it is live or alone, else unavailable |
//! | received by nobody, not awaited | any | like received by 0 nodes once the server is proven a master, unavailable if it is a replica |
//! | refused, or not answered in time | over the bus | done, number of nodes unknown |
//! | refused, or not answered in time | late, or nobody here | done if it is alone, else unavailable |
//! | refused by a replica | late, or nobody here | unavailable; looks for the master |
//!
//! # Messages
//!
//! | arrives | from | then |
//! |---|---|---|
//! | anything | an earlier subscriber connection | ignored |
//! | a message for a user | any node | delivered, behind what waits for that user |
//! | an event of this node | itself, in time | delivered as it is kept here, not read again |
//! | an event of this node | itself, after it was late | ignored |
//! | an event of this node | itself, not awaited, behind a late one of the user | ignored |
//! | hello | a node that is not known | a peer; says hello at once |
//! | hello | a peer | it is alive |
//! | bye | a peer | it is forgotten at once |
//! | an answer | any node | counts for the question that is open under its number, if one is |
//!
//! # Proof of a master
//!
//! A server that has become a replica still passes on messages, and only the server itself can tell. So an
//! event is published [in a way that a replica refuses](proof), unless one published that way a moment ago got
//! through. If nobody received an event that was published the plain way, the server is asked for its role.
//! One such question serves all events that were published before it on the same connection.

mod canary;
mod channels;
mod emits;
mod lanes;
mod messages;
mod moves;
mod peers;
mod proof;
mod questions;

use std::{
    task::Waker,
    time::{Duration, Instant},
};

use self::{
    canary::Canary, channels::Channels, emits::Emits, lanes::Lanes, moves::Moving, peers::Peers,
    proof::Proof, questions::Questions,
};
pub(super) use self::{
    canary::HelloError,
    channels::Changes,
    emits::{Begun, Published},
    lanes::{Delivery, Looks},
};
pub use self::{
    peers::PeerTooOld,
    questions::{Answer, Reply},
};
use crate::{
    bus::NotReady,
    id::NodeId,
    redis::Demoted,
    wire::{Sequence, UserMessage},
};

/// How often the node says hello.
pub(super) const HELLO_INTERVAL: Duration = Duration::from_secs(2);
/// How long a hello or an event may take to return to its sender.
pub(super) const ECHO_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct State {
    node: NodeId,
    demoted: Demoted,
    /// The last number given to a message.
    last: Sequence,
    /// The number of the present subscriber connection; messages of earlier ones are ignored.
    generation: u64,
    phase: Phase,
    /// Why the subscriber connection must be replaced although it brings messages.
    condemned: Option<NotReady>,
    /// Whether channels are moving, or may be.
    moving: Moving,
    /// How many times channels that had moved were found again.
    follows: u64,
    /// Why the node is not ready, if it is not.
    trouble: Option<NotReady>,
    command: CommandLink,
    /// Until then no event is sent to Redis, which has just failed to answer one.
    mute_until: Option<Instant>,
    channels: Channels,
    lanes: Lanes,
    emits: Emits,
    proof: Proof,
    questions: Questions,
    peers: Peers,
    canary: Canary,
    deliveries: Vec<Delivery>,
    actions: Vec<Action>,
}

/// The state of the subscriber connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Down,
    CatchingUp,
    /// Every user's channel is subscribed, and the connection is not known to be lost.
    Live,
}

/// The connection that commands go over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CommandLink {
    /// Which connection it is, or was; a later one has a higher number.
    pub(super) number: u64,
    pub(super) is_connected: bool,
    pub(super) is_demoted: bool,
}

/// What to do; in any order.
#[derive(Debug)]
pub(super) enum Action {
    /// [`State::take_changes`] has something for Redis.
    ChangeSubscriptions,
    SayHello,
    /// Call [`State::expire`] and [`State::take_looks`], and again at [`State::next_deadline`].
    TendLate,
    /// [`State::begin_loading`] or [`State::begin_role_check`] has something to do.
    CheckRole,
    /// The command connection leads to a replica, or may lead to one.
    FindMaster,
    Wake(Waker),
    Report(News),
}

/// What an operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    NotReady(NotReady),
    StillNotReady(NotReady),
    Ready,
    PeerCame {
        node: NodeId,
        release: String,
    },
    PeerLeft {
        node: NodeId,
    },
    /// It has been silent for too long, and counts as gone.
    PeerSilent {
        node: NodeId,
    },
    /// How many events did not fit among those that wait.
    Dropped(u64),
}

impl State {
    /// `demoted` is the error while Redis is a replica.
    pub(super) fn new(node: NodeId, demoted: Demoted) -> Self {
        Self {
            node,
            demoted,
            last: 0,
            generation: 0,
            phase: Phase::Down,
            condemned: None,
            moving: Moving::No,
            follows: 0,
            trouble: Some(NotReady::Starting),
            command: CommandLink::default(),
            mute_until: None,
            channels: Channels::default(),
            lanes: Lanes::default(),
            emits: Emits::default(),
            proof: Proof::default(),
            questions: Questions::default(),
            peers: Peers::default(),
            canary: Canary::default(),
            deliveries: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Notes the command connection. Must precede any event that depends on it.
    pub(super) fn sees(&mut self, command: CommandLink) {
        if command.is_demoted {
            // How many nodes a hello reached on a replica says nothing about those at the master.
            self.peers.doubt_alone();
        }
        if command.is_connected && self.proof.sees(command.number) {
            self.actions.push(Action::CheckRole);
        }
        self.command = command;
    }

    /// # Errors
    /// The node cannot rely on the bus now.
    pub(super) fn check(&self) -> Result<(), NotReady> {
        match &self.trouble {
            Some(why) => Err(why.clone()),
            // Messages on a replica do not reach the nodes at its master.
            None if self.command.is_demoted => Err(NotReady::Demoted(self.demoted.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The present subscriber connection has ended, or could not be opened.
    pub(super) fn lost(&mut self, why: NotReady, now: Instant) {
        self.generation += 1;
        self.phase = Phase::Down;
        self.condemned = None;
        self.moving = Moving::No;
        self.set_trouble(Some(why));
        self.channels.lose();
        self.lanes.give_up_all(now);
        self.actions.push(Action::TendLate);
    }

    /// A subscriber connection is open. Messages wait, so that no event reaches a session whose
    /// replacement was missed; those held back by an earlier attempt keep waiting.
    pub(super) fn catch_up(&mut self) {
        self.phase = Phase::CatchingUp;
        self.lanes.hold();
    }

    /// The channel of all nodes is subscribed again. Until now their silence meant nothing.
    pub(super) fn receives_hellos(&mut self, now: Instant) {
        self.peers.recovered(now);
    }

    /// Every channel is subscribed, and the node has caught up with what it missed.
    pub(super) fn caught_up(&mut self) {
        let Self {
            lanes, deliveries, ..
        } = self;
        lanes.release(|delivery| deliveries.push(delivery));
    }

    /// The node relies on this connection from now on.
    pub(super) fn ready(&mut self) {
        self.phase = Phase::Live;
        self.canary.begin();
        self.set_trouble(None);
    }

    /// Something went wrong that no hello has shown yet: not ready until the next hello returns.
    pub(super) fn doubt(&mut self, why: NotReady) {
        if self.check().is_ok() {
            self.set_trouble(Some(why));
            self.actions.push(Action::SayHello);
        }
    }

    /// Why the subscriber connection must be replaced now, if it must.
    pub(super) fn take_condemned(&mut self) -> Option<NotReady> {
        self.condemned.take()
    }

    /// The subscriber connection brings messages, but cannot be relied on.
    fn condemn(&mut self, why: NotReady) {
        // A new one is about to be opened anyway.
        if self.phase != Phase::Live {
            return;
        }
        self.doubt(why.clone());
        self.condemned = Some(why);
        self.actions.push(Action::SayHello);
    }

    fn set_trouble(&mut self, trouble: Option<NotReady>) {
        let news = match (&self.trouble, &trouble) {
            (None, Some(why)) => News::NotReady(why.clone()),
            (Some(before), Some(now)) if before != now => News::StillNotReady(now.clone()),
            (Some(_), None) => News::Ready,
            _ => return,
        };
        self.actions.push(Action::Report(news));
        self.trouble = trouble;
    }

    /// # Errors
    /// A node of an older release would ignore such a message.
    pub(super) fn check_peers(&self, message: &UserMessage) -> Result<(), PeerTooOld> {
        self.peers.understand(message)
    }

    /// Whether there was certainly no other node lately.
    pub(super) fn is_alone(&self) -> bool {
        self.peers.is_alone()
    }

    /// What to deliver, in this order; [`Self::delivered`] must follow.
    pub(super) fn take_deliveries(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }

    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(super) fn has_deliveries(&self) -> bool {
        !self.deliveries.is_empty()
    }

    /// The number of the next message.
    pub(super) fn next(&mut self) -> Sequence {
        self.last += 1;
        self.last
    }
}

#[cfg(test)]
mod tests;
