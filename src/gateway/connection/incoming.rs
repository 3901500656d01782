//! What a client sends, and what it costs.

use super::{
    super::{
        packet::{self, Auth, Packet, Unreadable},
        ticker::Tick,
    },
    Ending,
    locked::Locked,
    state::{Membership, Phase},
};
use crate::{node::Admitted, wire::Step};

/// The least that a packet is charged, in bytes, on top of its own length.
const LEAST_PACKET_COST: usize = 16;

impl Locked<'_> {
    /// Charges the client for a packet or a control frame, on top of its bytes, so that
    /// `inbound_packets` of them use up what a client may send in a second.
    pub(super) fn charge_packet(&mut self) {
        let limits = &self.connection.limits;
        self.charge((limits.inbound_rate / limits.inbound_packets).max(LEAST_PACKET_COST));
    }

    /// Takes bytes off the client's allowance, which grows by `inbound_rate` a second up to
    /// `inbound_burst`; ends the connection of a client that exceeds it.
    pub(super) fn charge(&mut self, bytes: usize) {
        let limits = &self.connection.limits;
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

    pub(super) fn receive(&mut self, packet: Result<Packet, Unreadable>) -> Option<Admitted> {
        self.charge_packet();
        if self.phase != Phase::Open {
            return None;
        }
        // The attachments of a packet follow right behind it.
        let packet = packet.ok().filter(|packet| match packet {
            Packet::Attachment => self.attachments > 0,
            Packet::Connect(_)
            | Packet::ConnectOther(_)
            | Packet::Disconnect
            | Packet::Message { .. }
            | Packet::OtherNamespace { .. } => self.attachments == 0,
            Packet::Close | Packet::Pong | Packet::Probe | Packet::Upgrade | Packet::Noop => true,
        });
        match packet {
            Some(Packet::Pong) => self.pong(),
            Some(Packet::Close) => self.closed_by_client(),
            Some(Packet::Noop | Packet::Upgrade) => {}
            Some(Packet::Connect(auth)) => self.connect(auth),
            Some(Packet::ConnectOther(name)) => {
                if self.may_connect() {
                    self.send(packet::unknown_namespace(&name));
                }
            }
            Some(Packet::Disconnect) => return self.leave(),
            Some(Packet::Message { attachments }) => self.take_message(attachments, false),
            Some(Packet::OtherNamespace { attachments }) => self.take_message(attachments, true),
            Some(Packet::Attachment) => {
                self.take_message(self.attachments - 1, self.is_other_namespace)
            }
            Some(Packet::Probe) | None => self.end(Ending::Unreadable),
        }
        None
    }

    /// Drops an event or an acknowledgement. Whether the client may send it is decided once all its
    /// attachments have arrived.
    fn take_message(&mut self, attachments: u8, is_other_namespace: bool) {
        self.attachments = attachments;
        self.is_other_namespace = is_other_namespace;
        if attachments == 0 && (is_other_namespace || !self.is_member()) {
            self.end(Ending::Unreadable);
        }
    }

    /// Counts a CONNECT, whatever its answer; `false` if it is one too many.
    fn may_connect(&mut self) -> bool {
        self.connects += 1;
        let may = self.connects <= self.connection.limits.handshake_attempts;
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
            // Answered if the current one is refused, or once the client leaves.
            Membership::Joining | Membership::Entering(_) | Membership::Leaving => {
                self.waiting.push(auth);
            }
            Membership::In(_) => {}
        }
    }

    pub(super) fn next_auth(&mut self) -> Option<Auth> {
        if self.waiting.is_empty() {
            self.membership = Membership::Out;
            return None;
        }
        self.membership = Membership::Joining;
        Some(self.waiting.remove(0))
    }

    /// The client leaves the namespace, and has to join again in time.
    fn leave(&mut self) -> Option<Admitted> {
        self.trace(|locked| Step::Left {
            address: locked.connection.shown_address(),
            duration_ms: locked.age_ms(),
        });
        let admitted = match std::mem::replace(&mut self.membership, Membership::Out) {
            Membership::In(admitted) => Some(admitted),
            Membership::Entering(_) => {
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
        engine.capacity.left();
        let sid = &self.connection.sid;
        engine.access.left(sid, &self.departure("client_left"));
        if let Some(kind) = self.transport.kind() {
            engine.meters.of(kind).joined.dec();
        }
        admitted
    }
}
