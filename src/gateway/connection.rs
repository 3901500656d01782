//! One client's connection on any transport: its states, its limits, and how it ends.
//!
//! A connection is open, then closing (its last packets are being sent, or wait for the next poll),
//! then ended. While it is open, its client can join and leave the namespace. All of that is decided
//! under one lock, which is never held across a wait. The hub calls [`Outlet`] while it holds a lock of
//! its own, so an [`Admitted`], whose drop takes the hub's lock, is never dropped under ours.
//!
//! `state` is what the lock protects, `locked` the connection while it is locked, `incoming` handles
//! what the client sends, `transports` serves polling and WebSocket, `ending` closes the connection.

mod ending;
mod incoming;
mod locked;
mod state;
mod transports;

use std::{
    fmt,
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

pub(super) use self::ending::Ending;
use self::{
    locked::Locked,
    state::{Membership, Phase, State, Transport, Upgrade},
};
use super::{
    capacity::Permit,
    engine::{Engine, TransportKind},
    entrance::Credentials,
    packet::{self, Auth, Packet, Unreadable},
    raw_stream::RawStream,
    registry::Sid,
    ticker::{Tick, Timed},
};
use crate::{
    auth::Identity,
    config::Limits,
    hub::{About, Farewell, Outlet},
    node::Admitted,
    stream::ClientAddress,
    wire::{Event, Frame, HandshakeError, Step, beginning},
};

pub(super) struct Connection {
    engine: Arc<Engine>,
    me: Weak<Self>,
    limits: Arc<Limits>,
    sid: Sid,
    /// The client's address, also behind trusted proxies.
    address: Option<ClientAddress>,
    state: Mutex<State>,
}

impl Connection {
    /// Opens a connection for a client that polls.
    pub(super) fn open_polling(permit: Permit, credentials: Option<Credentials>) -> Arc<Self> {
        Self::open(permit, credentials, Transport::Polling(Upgrade::None), None)
    }

    /// Opens a connection on a WebSocket. Sends the response to the client's request, and the open packet
    /// behind it.
    pub(super) fn open_websocket(
        permit: Permit,
        credentials: Option<Credentials>,
        stream: RawStream,
        response: &[u8],
    ) -> Arc<Self> {
        let transport = Transport::WebSocket(stream);
        Self::open(permit, credentials, transport, Some(response))
    }

    fn open(
        permit: Permit,
        credentials: Option<Credentials>,
        transport: Transport,
        response: Option<&[u8]>,
    ) -> Arc<Self> {
        let address = permit.address;
        let engine = permit.keep();
        let kind = transport.kind();
        let limits = engine.current.load().limits.clone();
        let state = State::new(&engine, &limits, transport, credentials);
        let connection = Arc::new_cyclic(|me| Self {
            engine: engine.clone(),
            me: me.clone(),
            limits,
            sid: engine.registry.new_sid(),
            address,
            state: Mutex::new(state),
        });
        if let Some(kind) = kind {
            connection.engine.meters.of(kind).opened.inc();
        }
        let mut locked = connection.lock();
        // From here on a drain can find the connection, and ends it behind its first packet.
        engine.registry.insert(connection.clone());
        if let Some(response) = response {
            let packet = engine.open_packet(connection.sid, "");
            let both = [response, packet.bytes()].concat();
            locked.send(Frame::raw(both.into(), 0));
        }
        // A drain that began earlier may have listed the connections already.
        if engine.lifecycle.is_draining() {
            locked.end(Ending::Draining);
        }
        drop(locked);
        connection
    }

    /// The client's address; `None` if it is not known.
    pub(super) fn address(&self) -> Option<ClientAddress> {
        self.address
    }

    pub(super) fn shown_address(&self) -> Option<String> {
        self.address.map(|address| address.to_string())
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

    /// When the client of an open connection last joined, `NEVER` if it has not; `None` if the connection
    /// is not open.
    pub(super) fn joined_at(&self) -> Option<Tick> {
        let locked = self.lock();
        (locked.phase == Phase::Open).then_some(locked.joined_at)
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().phase == Phase::Open
    }

    /// Whether packets are still queued for a client whose connection is closing.
    pub(super) fn has_last_packets(&self) -> bool {
        self.lock().has_last_packets()
    }

    /// Charges the client for bytes that it has sent; ends the connection if they are too many.
    pub(super) fn charge(&self, bytes: usize) {
        self.lock().charge(bytes);
    }

    /// Handles a packet from the client; `false` if the connection is no longer open.
    pub(super) fn receive(&self, packet: Result<Packet, Unreadable>) -> bool {
        let mut locked = self.lock();
        let left = locked.receive(packet);
        let goes_on = locked.phase == Phase::Open;
        drop(locked);
        // Not under the lock, and before the client's next packet.
        drop(left);
        goes_on
    }

    /// Takes the credentials of the request that opened the connection, to check a CONNECT by them.
    pub(super) fn take_credentials(&self) -> Option<Box<Credentials>> {
        self.lock().credentials.take()
    }

    pub(super) fn keep_credentials(&self, credentials: Option<Box<Credentials>>) {
        self.lock().credentials = credentials;
    }

    /// Tells the client that it has joined, until that Unix second; `false` if it is gone.
    pub(super) fn welcome(&self, identity: &Identity, expires_at: Option<u64>) -> bool {
        let mut locked = self.lock();
        if locked.phase != Phase::Open {
            return false;
        }
        // The client stops counting as unjoined before it can know that it has joined.
        locked.join_by = Tick::NEVER;
        self.engine.capacity.joined();
        if let Some(kind) = locked.transport.kind() {
            self.engine.meters.of(kind).joined.inc();
        }
        let sid = self.engine.registry.new_sid();
        if !locked.tell(packet::connected(sid)) {
            return false;
        }
        locked.membership = Membership::Entering(identity.user.clone());
        locked.joined_at = self.engine.ticker.now();
        locked.schedule_move();
        let Identity { user, session, .. } = identity;
        self.engine.access.joined(&self.sid, user, session);
        let traces = self.engine.entrance.traces();
        traces.record(user, || Step::Joined {
            transport: locked.kind.map(TransportKind::label),
            address: self.shown_address(),
            session: beginning(session.as_str()),
        });
        // A token that expires at second 0 was refused in the handshake.
        locked.expires_at = expires_at.and_then(NonZeroU64::new);
        locked.check_expiry();
        true
    }

    /// Makes the client a member. Returns its next CONNECT, if it has left in the meantime.
    pub(super) fn entered(&self, admitted: Admitted) -> Option<Auth> {
        let mut locked = self.lock();
        let next = match locked.membership {
            Membership::Entering(_) if locked.phase == Phase::Open => {
                locked.membership = Membership::In(admitted);
                // CONNECTs sent together make one socket.
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

    /// Tells the client why it is refused; `false` if it is gone.
    pub(super) fn refuse(&self, refusal: HandshakeError) -> bool {
        self.lock().tell(packet::refused(refusal))
    }

    /// The next CONNECT of a client that was refused, if it sent one in the meantime.
    pub(super) fn next_auth(&self) -> Option<Auth> {
        self.lock().next_auth()
    }

    fn lock(&self) -> Locked<'_> {
        // After a panic, only the state of this one client can be inconsistent.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked::new(self, state)
    }
}

impl Outlet for Connection {
    fn send(&self, event: &Event) -> bool {
        let mut locked = self.lock();
        let is_in = locked.phase == Phase::Open && locked.is_member();
        if is_in {
            locked.send(event.frame().clone());
        }
        is_in
    }

    fn overrun(&self) {
        let mut locked = self.lock();
        if locked.is_member() {
            locked.end(Ending::SlowReader);
        }
    }

    fn dismiss(&self, farewell: &Farewell) -> bool {
        self.lock().dismiss(farewell)
    }

    fn about(&self) -> Option<About> {
        let locked = self.lock();
        let is_in = locked.phase == Phase::Open && locked.is_member();
        let kind = locked.transport.kind().filter(|_| is_in)?;
        Some(About {
            transport: kind.label(),
            address: self.address,
            age: Duration::from_millis(self.engine.ticker.now().since(locked.joined_at)),
        })
    }
}

impl Timed for Connection {
    fn tick(&self, now: Tick) {
        let left = self.lock().tick(now);
        // Not under the lock.
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
pub(super) mod tests;
