//! How a connection ends.

use std::time::Duration;

use super::{
    super::{frames, packet, ticker::Tick},
    locked::Locked,
    state::{LastWord, Phase, Transport},
};
use crate::{
    hub::Farewell,
    label::labels,
    wire::{EVENT_EXPIRED, EVENT_LOGOUT, Frame, LogoutReason, Step},
};

/// How long a dismissed client on a WebSocket has to read the reason.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);
/// How long a dismissed client that polls has to fetch the reason: a socket must be gone within 5 s of
/// its token's expiry.
const POLL_LIMIT: Duration = Duration::from_secs(3);
/// How long a stream is read after its close frame, so that no reset overtakes that frame; and how
/// long a polling client that is moved may take to fetch what is queued.
const LINGER_LIMIT: Duration = Duration::from_secs(2);

labels! {
    /// Why a connection ends.
    pub(in crate::gateway) enum Ending {
        ClientClosed => "client_closed",
        ConnectionLost => "connection_lost",
        Dismissed => "dismissed",
        Draining => "draining",
        Flooding => "flooding",
        MessageTooLong => "message_too_long",
        Moved => "moved",
        NotJoined => "not_joined",
        NotText => "not_text",
        OverlappingPolls => "overlapping_polls",
        OverlappingPosts => "overlapping_posts",
        PingTimeout => "ping_timeout",
        ProtocolViolated => "protocol_violated",
        SlowReader => "slow_reader",
        TooManyConnects => "too_many_connects",
        TooOld => "too_old",
        Unreadable => "unreadable",
        WriteStalled => "write_stalled",
    }
}

impl Ending {
    /// Whether the client should come back on another connection. Then it gets what is queued first, if
    /// it reads it in time.
    fn is_move(self) -> bool {
        matches!(self, Self::Draining | Self::Moved | Self::TooOld)
    }

    /// The status of the close frame (RFC 6455, 7.4.1), where one fits.
    fn status(self) -> Option<u16> {
        match self {
            Self::Draining | Self::Moved | Self::TooOld => Some(1001),
            Self::ProtocolViolated => Some(1002),
            Self::NotText => Some(1007),
            Self::MessageTooLong => Some(1009),
            _ => None,
        }
    }
}

impl Locked<'_> {
    /// Ends the connection, and tells the client over its WebSocket or its pending poll.
    pub(in crate::gateway) fn end(&mut self, ending: Ending) {
        match self.phase {
            Phase::Open => {}
            // What is still queued tells the client why. Only one that floods sockd is cut off before that.
            Phase::Closing if ending == Ending::Flooding => return self.finish(LastWord::Close),
            Phase::Closing | Phase::Ended(_) => return,
        }
        self.ending = Some(ending);
        if !ending.is_move() {
            self.outbox.abandon();
        }
        if matches!(self.transport, Transport::WebSocket(_)) {
            let status = ending.status().map(u16::to_be_bytes);
            self.close(status.as_ref().map_or(&[], |status| status.as_slice()));
        } else if !self.outbox.is_empty() {
            self.phase = Phase::Closing;
            self.cut_at = self.connection.engine.ticker.after(LINGER_LIMIT);
        } else {
            self.finish(if ending.is_move() {
                LastWord::Noop
            } else {
                LastWord::Close
            });
        }
    }

    pub(super) fn has_last_packets(&self) -> bool {
        self.phase == Phase::Closing && !self.outbox.is_empty()
    }

    /// Ends the connection of a client that does not read, without a close frame.
    pub(super) fn cut(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.finish(LastWord::Close);
    }

    /// Sends a close frame behind what is queued.
    fn close(&mut self, status: &[u8]) {
        self.outbox.push(frames::close(status));
        self.phase = Phase::Closing;
        self.cut_at = self.connection.engine.ticker.after(LINGER_LIMIT);
        self.flush();
    }

    /// Tells a client why it has to go and ends the connection, in one write; `false` if it is
    /// already gone.
    pub(super) fn dismiss(&mut self, farewell: &Farewell) -> bool {
        if self.phase != Phase::Open || !self.is_member() {
            return false;
        }
        let meters = &self.connection.engine.meters;
        let expired = LogoutReason::TOKEN_EXPIRED;
        let (event, reason, counter) = match farewell {
            Farewell::LoggedOut(reason) => (EVENT_LOGOUT, reason, &meters.logged_out),
            Farewell::TokenExpired => (EVENT_EXPIRED, &expired, &meters.expired),
        };
        counter.inc();
        let payload = reason.payload();
        let reason = reason.as_str();
        self.trace(|_| Step::Dismissed { event, reason });
        self.ending = Some(Ending::Dismissed);
        // Queued whatever the limit, since the client has to know.
        let event = Frame::text(&[r#"42[""#, event, r#"","#, &payload, "]"]);
        self.push(event);
        self.push(packet::DISCONNECT);
        self.phase = Phase::Closing;
        let limit = match &self.transport {
            Transport::WebSocket(_) => {
                self.outbox.push(frames::close(&[]));
                FAREWELL_LIMIT
            }
            _ => POLL_LIMIT,
        };
        self.cut_at = self.connection.engine.ticker.after(limit);
        self.flush();
        true
    }

    /// The client of a closing connection has moved to a WebSocket, which gives it no more time.
    pub(super) fn close_after_upgrade(&mut self) {
        self.outbox.push(frames::close(&[]));
        let limit = self.connection.engine.ticker.after(FAREWELL_LIMIT);
        self.cut_at = self.cut_at.min(limit);
    }

    /// The client has ended the connection with a packet.
    pub(super) fn closed_by_client(&mut self) {
        self.ending = Some(Ending::ClientClosed);
        if matches!(self.transport, Transport::WebSocket(_)) {
            self.outbox.abandon();
            self.close(&[]);
        } else {
            self.finish(LastWord::Noop);
        }
    }

    /// The client has closed the WebSocket: its status is sent back (RFC 6455, 5.5.1).
    pub(super) fn closed_by_frame(&mut self, payload: &[u8]) {
        if self.phase == Phase::Open {
            self.outbox.abandon();
            self.ending = Some(Ending::ClientClosed);
            self.close(payload.get(..2).unwrap_or_default());
        }
    }

    /// Ends the connection and releases everything but the admission.
    pub(super) fn finish(&mut self, last_word: LastWord) {
        if matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        if self.phase == Phase::Open && self.ending.is_none() {
            self.ending = Some(Ending::ConnectionLost);
        }
        self.phase = Phase::Ended(last_word);
        let kind = self.transport.kind();
        self.transport = Transport::None;
        self.outbox = Default::default();
        self.credentials = None;
        self.waiting = Vec::new();
        self.ping_at = Tick::NEVER;
        let had_joined = self.join_by == Tick::NEVER;
        self.join_by = Tick::NEVER;
        self.connection.engine.capacity.ended(had_joined);
        if let Some(kind) = kind.filter(|_| had_joined) {
            self.connection.engine.meters.of(kind).joined.dec();
        }
        self.expiry_at = Tick::NEVER;
        self.cut_at = Tick::NEVER;
        let engine = &self.connection.engine;
        engine.registry.remove(&self.connection.sid);
        self.wakes_task = true;
        self.wakes_poll = true;
    }
}
