//! The state of a connection.

use std::{num::NonZeroU64, task::Waker};

use crate::{
    config::Limits,
    gateway::{
        engine::{Engine, TransportKind},
        entrance::Credentials,
        outbox::Outbox,
        packet::Auth,
        raw_stream::RawStream,
        ticker::Tick,
    },
    id::UserId,
    node::Admitted,
};

pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) membership: Membership,
    pub(super) transport: Transport,
    pub(super) outbox: Outbox,
    /// The task that carries the WebSocket, or tries an upgrade.
    pub(super) task: Option<Waker>,
    /// The poll that waits for packets.
    pub(super) poll: Option<Waker>,
    pub(super) is_polled: bool,
    pub(super) is_posting: bool,
    /// Bytes of poll responses that are not written yet.
    pub(super) in_flight: usize,
    /// What the request that opened the connection carried, for a CONNECT without a token.
    pub(super) credentials: Option<Box<Credentials>>,
    /// CONNECTs received while another was being answered.
    pub(super) waiting: Vec<Auth>,
    pub(super) connects: u32,
    /// Attachments that are still to come, and whether their packet is for another namespace.
    pub(super) attachments: u8,
    pub(super) is_other_namespace: bool,
    /// Bytes that the client may send, as of `allowed_at`.
    pub(super) allowance: u32,
    pub(super) allowed_at: Tick,
    /// When to ping, or to move the client if that is sooner. While a pong is awaited, when the ping times
    /// out.
    pub(super) ping_at: Tick,
    pub(super) awaits_pong: bool,
    /// When the client must have joined; `NEVER` once it has.
    pub(super) join_by: Tick,
    pub(super) joined_at: Tick,
    /// The Unix second at which the client's token expires, and when to check next.
    pub(super) expires_at: Option<NonZeroU64>,
    pub(super) expiry_at: Tick,
    /// When the connection is cut, unless the client reads something first.
    pub(super) cut_at: Tick,
    /// When the ticker calls `tick` next.
    pub(super) wake_at: Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    Closing,
    /// What a pending poll receives.
    Ended(LastWord),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastWord {
    /// The connection is over. Python clients do not reconnect after it.
    Close,
    /// Nothing. The next poll finds no connection, after which every client reconnects.
    Noop,
}

pub(super) enum Membership {
    Out,
    /// The session is being checked.
    Joining,
    /// This user's client has been told that it has joined, but gets no events yet.
    Entering(UserId),
    /// The client left while it was entering.
    Leaving,
    In(Admitted),
}

pub(super) enum Transport {
    Polling(Upgrade),
    WebSocket(RawStream),
    None,
}

/// How far the upgrade of a polling client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    None,
    /// A WebSocket is open.
    Begun,
    /// The WebSocket works, and polls return at once.
    Probed,
}

impl State {
    pub(super) fn new(
        engine: &Engine,
        limits: &Limits,
        transport: Transport,
        credentials: Option<Credentials>,
    ) -> Self {
        let ticker = &engine.ticker;
        Self {
            phase: Phase::Open,
            membership: Membership::Out,
            transport,
            outbox: Outbox::default(),
            task: None,
            poll: None,
            is_polled: false,
            is_posting: false,
            in_flight: 0,
            credentials: credentials.map(Box::new),
            waiting: Vec::new(),
            connects: 0,
            attachments: 0,
            is_other_namespace: false,
            allowance: limits.inbound_burst as u32,
            allowed_at: ticker.now(),
            ping_at: ticker.after(engine.socketio.ping_interval),
            awaits_pong: false,
            join_by: ticker.after(engine.socketio.connect_timeout),
            joined_at: Tick::NEVER,
            expires_at: None,
            expiry_at: Tick::NEVER,
            cut_at: Tick::NEVER,
            wake_at: Tick::NEVER,
        }
    }

    pub(super) fn is_member(&self) -> bool {
        matches!(self.membership, Membership::Entering(_) | Membership::In(_))
    }
}

impl Transport {
    /// `None` once the connection has ended.
    pub(super) fn kind(&self) -> Option<TransportKind> {
        match self {
            Self::Polling(_) => Some(TransportKind::Polling),
            Self::WebSocket(_) => Some(TransportKind::WebSocket),
            Self::None => None,
        }
    }
}
