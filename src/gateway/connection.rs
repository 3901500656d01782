//! One client's connection, whatever its transport: its states, what it may cost, and how it ends.
//!
//! It is open, then closing (on a WebSocket the last frames are still going out, on polling they are
//! still to be fetched), then ended. Meanwhile its client joins the namespace, and may leave it.
//! Everything is decided under one short lock, and nothing is called under it that could wait. The
//! hub calls in with a lock of its own; so a socket's place in the hub is given up only without ours,
//! by whoever calls from elsewhere.

mod ending;
mod locked;
mod transports;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::Waker,
};

use self::locked::Locked;
pub(super) use self::{ending::Ending, transports::pong};
use super::{
    engine::Engine,
    entrance::Credentials,
    outbox::Outbox,
    packet::{self, Auth, Packet, Unreadable},
    registry::Sid,
    stream::Stream,
    ticker::{Tick, Timed},
};
use crate::{
    hub::{Farewell, Outlet},
    node::Admitted,
    wire::{Event, Refusal},
};

/// What a packet or a frame costs of the budget beside its bytes, so that many small ones count.
const PACKET_COST: usize = 16;

pub(super) struct Connection {
    engine: Arc<Engine>,
    me: Weak<Self>,
    sid: Sid,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    membership: Membership,
    transport: Transport,
    outbox: Outbox,
    /// The task that carries the WebSocket, or tries an upgrade.
    task: Option<Waker>,
    /// The poll that waits for packets.
    poll: Option<Waker>,
    is_polled: bool,
    is_posting: bool,
    /// What answers to polls weigh that have not gone out yet.
    in_flight: usize,
    /// `None` where the request that opened the connection carried nothing, and once it is used up.
    credentials: Option<Box<Credentials>>,
    /// CONNECTs that came while another was under way.
    waiting: Vec<Auth>,
    connects: u32,
    /// Attachments that the last event has announced, and their bytes so far.
    attachments: u32,
    attached: u32,
    /// Bytes that the client may send now, as of that tick.
    allowance: u32,
    allowed_at: Tick,
    /// When to ping or, while a pong is awaited, when to give the client up.
    ping_at: Tick,
    awaits_pong: bool,
    /// Until when the client has to have joined.
    join_by: Tick,
    /// The Unix second at which the client's token runs out, and when to look.
    expires_at: Option<u64>,
    expiry_at: Tick,
    /// When the connection is cut off, unless the client reads on or is done.
    cut_at: Tick,
    /// When the ticker calls next.
    wake_at: Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Closing,
    /// With the last word for a poll that waits.
    Ended(LastWord),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastWord {
    /// The connection is over. A client in Python takes it for more: it stays away.
    Close,
    /// Nothing: the next poll will find no connection, and the client comes back.
    Noop,
}

enum Membership {
    Out,
    /// The session is being checked.
    Joining,
    /// It was good, and the client has been told so; its events begin to flow.
    Entering,
    /// The client has left before it was all the way in.
    Leaving,
    In(Admitted),
}

enum Transport {
    Polling(Upgrade),
    WebSocket(Stream),
    None,
}

/// How far a polling client has come on its way to a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    None,
    /// A WebSocket was opened for it.
    Asked,
    /// It works: polls are to come to an end.
    Probed,
}

impl Connection {
    /// Opens a connection for a client that polls.
    pub(super) fn open_polling(
        engine: &Arc<Engine>,
        credentials: Option<Credentials>,
    ) -> Arc<Self> {
        Self::open(engine, credentials, Transport::Polling(Upgrade::None))
    }

    /// Opens a connection on a WebSocket, and sends the packet that says so.
    pub(super) fn open_websocket(
        engine: &Arc<Engine>,
        credentials: Option<Credentials>,
        stream: Stream,
    ) -> Arc<Self> {
        let connection = Self::open(engine, credentials, Transport::WebSocket(stream));
        let packet = engine.open_packet(connection.sid, "");
        connection.lock().send(packet);
        connection
    }

    fn open(
        engine: &Arc<Engine>,
        credentials: Option<Credentials>,
        transport: Transport,
    ) -> Arc<Self> {
        let ticker = &engine.ticker;
        let state = State {
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
            attached: 0,
            allowance: engine.limits.inbound_burst as u32,
            allowed_at: ticker.now(),
            ping_at: ticker.after(engine.socketio.ping_interval),
            awaits_pong: false,
            join_by: ticker.after(engine.socketio.connect_timeout),
            expires_at: None,
            expiry_at: Tick::NEVER,
            cut_at: Tick::NEVER,
            wake_at: Tick::NEVER,
        };
        let connection = Arc::new_cyclic(|me| Self {
            engine: engine.clone(),
            me: me.clone(),
            sid: engine.registry.new_sid(),
            state: Mutex::new(state),
        });
        engine.registry.insert(connection.clone());
        // The guard's end asks the ticker for the first call.
        drop(connection.lock());
        connection
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(super) fn sid(&self) -> &Sid {
        &self.sid
    }

    pub(super) fn end(&self, ending: Ending) {
        self.lock().end(ending);
    }

    /// Takes bytes off what the client may send; ends a connection that has sent too much.
    pub(super) fn charge(&self, bytes: usize) {
        self.lock().charge(bytes);
    }

    /// Takes a packet of the client; `false` if it was the last.
    pub(super) fn receive(&self, packet: Result<Packet, Unreadable>) -> bool {
        let mut locked = self.lock();
        let left = locked.receive(packet);
        let goes_on = locked.phase == Phase::Open;
        drop(locked);
        // Without the lock, and before the client's next packet is looked at.
        drop(left);
        goes_on
    }

    /// Takes a binary packet of the client, of which only the length matters.
    pub(super) fn receive_binary(&self, length: usize) -> bool {
        let mut locked = self.lock();
        locked.receive_binary(length);
        locked.phase == Phase::Open
    }

    /// What the request that opened the connection carried, for whoever judges a CONNECT.
    pub(super) fn take_credentials(&self) -> Option<Box<Credentials>> {
        self.lock().credentials.take()
    }

    pub(super) fn keep_credentials(&self, credentials: Option<Box<Credentials>>) {
        self.lock().credentials = credentials;
    }

    /// The client is let in until that Unix second, and told so; `false` if it is gone.
    pub(super) fn welcome(&self, expires_at: Option<u64>) -> bool {
        let mut locked = self.lock();
        if locked.phase != Phase::Open {
            return false;
        }
        let sid = self.engine.registry.new_sid();
        locked.membership = Membership::Entering;
        locked.join_by = Tick::NEVER;
        locked.expires_at = expires_at;
        locked.look_for_expiry();
        locked.send(packet::connected(sid));
        true
    }

    /// The client's events flow. Returns what it wants next, if it has left and wants to join again.
    pub(super) fn entered(&self, admitted: Admitted) -> Option<Auth> {
        let mut locked = self.lock();
        let next = match locked.membership {
            Membership::Entering if locked.phase == Phase::Open => {
                locked.membership = Membership::In(admitted);
                // Two in one breath make one socket.
                locked.waiting = Vec::new();
                return None;
            }
            Membership::Leaving => locked.next_auth(),
            _ => None,
        };
        drop(locked);
        drop(admitted);
        next
    }

    /// The client is told why it stays outside. Returns the CONNECT that it has sent meanwhile.
    pub(super) fn refuse(&self, refusal: Refusal) -> Option<Auth> {
        let mut locked = self.lock();
        if locked.phase != Phase::Open {
            return None;
        }
        locked.send(packet::refused(refusal));
        locked.next_auth()
    }

    fn lock(&self) -> Locked<'_> {
        // What one call leaves half-changed can only be this one client's.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked::new(self, state)
    }
}

impl Locked<'_> {
    fn charge(&mut self, bytes: usize) {
        let limits = &self.connection.engine.limits;
        let now = self.connection.engine.ticker.now();
        let earned = now
            .since(self.allowed_at)
            .saturating_mul(limits.inbound_rate as u64);
        let allowance = u64::from(self.allowance).saturating_add(earned / 1_000);
        let allowance = allowance.min(limits.inbound_burst as u64) as usize;
        self.allowed_at = now;
        match allowance.checked_sub(bytes) {
            Some(left) => self.allowance = left as u32,
            None => {
                self.allowance = 0;
                self.end(Ending::Flooding);
            }
        }
    }

    fn receive(&mut self, packet: Result<Packet, Unreadable>) -> Option<Admitted> {
        self.charge(PACKET_COST);
        if self.phase != Phase::Open {
            return None;
        }
        // The attachments of an event follow right behind it.
        let packet = packet.ok().filter(|packet| {
            let is_message = !matches!(packet, Packet::Pong | Packet::Close | Packet::Noop);
            self.attachments == 0 || !is_message
        });
        match packet {
            Some(Packet::Pong) => self.pong(),
            Some(Packet::Close) => self.closed_by_client(),
            Some(Packet::Noop | Packet::Upgrade) => {}
            Some(Packet::Connect(auth)) => self.connect(auth),
            Some(Packet::ConnectElsewhere(name)) => {
                if self.may_connect() {
                    self.send(packet::unknown_namespace(&name));
                }
            }
            Some(Packet::Disconnect) => return self.leave(),
            Some(Packet::Message { attachments }) if self.is_member() => {
                // An acknowledgement that a client has asked for would be answered here.
                self.attachments = attachments as u32;
                self.attached = 0;
            }
            Some(Packet::Message { .. } | Packet::Elsewhere | Packet::Probe) | None => {
                self.end(Ending::Unreadable);
            }
        }
        None
    }

    fn receive_binary(&mut self, length: usize) {
        self.charge(PACKET_COST);
        if self.phase != Phase::Open {
            return;
        }
        let longest = self.connection.engine.socketio.max_payload;
        let attached = self.attached as usize + length;
        if self.attachments == 0 || attached > longest {
            return self.end(Ending::Unreadable);
        }
        self.attachments -= 1;
        self.attached = attached as u32;
    }

    /// Counts a CONNECT, whatever its answer will be; `false` if there were too many.
    fn may_connect(&mut self) -> bool {
        self.connects += 1;
        let may = self.connects <= self.connection.engine.limits.handshake_attempts;
        if !may {
            self.end(Ending::TooManyConnects);
        }
        may
    }

    fn connect(&mut self, auth: Auth) {
        if !self.may_connect() {
            return;
        }
        match self.membership {
            Membership::Out => {
                self.membership = Membership::Joining;
                let connection = self.connection.me.upgrade();
                if let Some(connection) = connection {
                    self.connection.engine.entrance.join(connection, auth);
                }
            }
            // It counts if this one is refused, or if the client has left meanwhile.
            Membership::Joining | Membership::Entering | Membership::Leaving => {
                self.waiting.push(auth);
            }
            Membership::In(_) => {}
        }
    }

    fn next_auth(&mut self) -> Option<Auth> {
        if self.waiting.is_empty() {
            self.membership = Membership::Out;
            return None;
        }
        self.membership = Membership::Joining;
        Some(self.waiting.remove(0))
    }

    /// The client leaves the namespace. Whoever joins nothing after that is closed as before.
    fn leave(&mut self) -> Option<Admitted> {
        let admitted = match std::mem::replace(&mut self.membership, Membership::Out) {
            Membership::In(admitted) => Some(admitted),
            Membership::Entering => {
                self.membership = Membership::Leaving;
                None
            }
            outside => {
                self.membership = outside;
                self.end(Ending::Unreadable);
                return None;
            }
        };
        let engine = &self.connection.engine;
        self.expiry_at = Tick::NEVER;
        self.join_by = engine.ticker.after(engine.socketio.connect_timeout);
        admitted
    }

    fn is_member(&self) -> bool {
        matches!(self.membership, Membership::Entering | Membership::In(_))
    }
}

impl Outlet for Connection {
    fn send(&self, event: &Event) {
        let mut locked = self.lock();
        if locked.phase == Phase::Open && locked.is_member() {
            locked.send(event.frame().clone());
            self.engine.meters.events_sent.increment(1);
        }
    }

    fn dismiss(&self, farewell: Farewell) {
        let is_told = self.lock().dismiss(farewell);
        if is_told {
            tracing::info!(sid = %self.sid, ?farewell, "dismissing a socket");
        }
    }
}

impl Timed for Connection {
    fn tick(&self, now: Tick) {
        let left = self.lock().tick(now);
        // Without the lock.
        drop(left);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("sid", &self.sid.as_str())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_is_small() {
        let size = size_of::<Connection>();
        assert!(
            size <= 368,
            "with its two counts no longer in 384 bytes: {size}"
        );
    }
}
