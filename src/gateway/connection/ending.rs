//! How a connection ends.

use std::time::Duration;

use bytes::Bytes;

use super::{
    super::{packet, ticker::Tick},
    LastWord, Phase, Transport,
    locked::Locked,
};
use crate::{
    hub::Farewell,
    wire::{EVENT_EXPIRED, EVENT_LOGOUT, Frame},
};

/// How long a dismissed client on a WebSocket has to read why.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);
/// How long a dismissed client that polls has to fetch why; a token's socket has to go within 5 s.
const POLL_LIMIT: Duration = Duration::from_secs(3);
/// How long a stream is read after its close frame, so that no reset overtakes that frame.
const LINGER_LIMIT: Duration = Duration::from_secs(2);

macro_rules! endings {
    ($($ending:ident => $label:literal,)*) => {
        /// Why a connection is ended by us.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::gateway) enum Ending {
            $($ending,)*
        }

        impl Ending {
            pub(in crate::gateway) const ALL: [Self; [$($label),*].len()] = [$(Self::$ending),*];

            pub(in crate::gateway) fn label(self) -> &'static str {
                match self {
                    $(Self::$ending => $label,)*
                }
            }
        }
    };
}

endings! {
    Dismissed => "dismissed",
    Draining => "draining",
    Flooding => "flooding",
    MessageTooLong => "message_too_long",
    NotJoined => "not_joined",
    NotText => "not_text",
    OverlappingPolls => "overlapping_polls",
    OverlappingPosts => "overlapping_posts",
    PingTimeout => "ping_timeout",
    ProtocolViolated => "protocol_violated",
    SlowReader => "slow_reader",
    TooManyConnects => "too_many_refusals",
    Unreadable => "unreadable",
    WriteStalled => "write_stalled",
}

impl Ending {
    /// The status of the close frame (RFC 6455, 7.4.1), where one fits.
    fn status(self) -> Option<u16> {
        match self {
            Self::Draining => Some(1001),
            Self::ProtocolViolated => Some(1002),
            Self::NotText => Some(1007),
            Self::MessageTooLong => Some(1009),
            _ => None,
        }
    }
}

impl Locked<'_> {
    /// Ends the connection, and tells its WebSocket or the poll that waits.
    pub(in crate::gateway) fn end(&mut self, ending: Ending) {
        match self.phase {
            Phase::Open => {}
            // The client knows already.
            Phase::Closing => return self.finish(LastWord::Close),
            Phase::Ended(_) => return,
        }
        self.ending = Some(ending);
        if matches!(self.transport, Transport::WebSocket(_)) {
            let status = ending.status().map(u16::to_be_bytes);
            self.close(status.as_ref().map_or(&[], |status| status.as_slice()));
        } else {
            self.finish(match ending {
                Ending::Draining => LastWord::Noop,
                _ => LastWord::Close,
            });
        }
    }

    /// Ends the connection of a client that does not read, without telling it.
    pub(super) fn cut(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.finish(LastWord::Close);
    }

    /// Sends a close frame instead of what is queued.
    fn close(&mut self, status: &[u8]) {
        self.outbox.abandon();
        self.outbox.push(close_frame(status));
        self.phase = Phase::Closing;
        self.cut_at = self.connection.engine.ticker.after(LINGER_LIMIT);
        self.flush();
    }

    /// Tells a client why it has to go and ends the connection, in one write.
    pub(super) fn dismiss(&mut self, farewell: Farewell) {
        if self.phase != Phase::Open || !self.is_member() {
            return;
        }
        let (event, reason) = match farewell {
            Farewell::SessionReplaced => (EVENT_LOGOUT, "SESSION_REPLACED"),
            Farewell::TokenExpired => (EVENT_EXPIRED, "TOKEN_EXPIRED"),
        };
        metrics::counter!("sockd_sockets_dismissed_total", "event" => event).increment(1);
        self.ending = Some(Ending::Dismissed);
        // Whatever is queued already, the client has to know.
        let event = Frame::text(&[r#"42[""#, event, r#"",{"reason":""#, reason, r#""}]"#]);
        self.push(event);
        self.push(packet::DISCONNECT);
        self.phase = Phase::Closing;
        let limit = match &self.transport {
            Transport::WebSocket(_) => {
                self.outbox.push(close_frame(&[]));
                FAREWELL_LIMIT
            }
            _ => POLL_LIMIT,
        };
        self.cut_at = self.connection.engine.ticker.after(limit);
        self.flush();
    }

    /// A client that is being dismissed has moved to a WebSocket.
    pub(super) fn say_end(&mut self) {
        self.outbox.push(close_frame(&[]));
        self.cut_at = self.connection.engine.ticker.after(FAREWELL_LIMIT);
    }

    /// The client has ended the connection with a packet.
    pub(super) fn closed_by_client(&mut self) {
        if matches!(self.transport, Transport::WebSocket(_)) {
            self.close(&[]);
        } else {
            self.finish(LastWord::Noop);
        }
    }

    /// The client has closed the WebSocket: its status is sent back (RFC 6455, 5.5.1).
    pub(super) fn closed_by_frame(&mut self, payload: &[u8]) {
        if self.phase == Phase::Open {
            self.close(payload.get(..2).unwrap_or_default());
        }
    }

    /// Releases everything but the admission.
    pub(super) fn finish(&mut self, last_word: LastWord) {
        if matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        self.phase = Phase::Ended(last_word);
        self.transport = Transport::None;
        self.outbox = Default::default();
        self.credentials = None;
        self.waiting = Vec::new();
        self.ping_at = Tick::NEVER;
        let had_joined = self.join_by == Tick::NEVER;
        self.join_by = Tick::NEVER;
        self.connection.engine.capacity.ended(had_joined);
        self.expiry_at = Tick::NEVER;
        self.cut_at = Tick::NEVER;
        let engine = &self.connection.engine;
        engine.registry.remove(&self.connection.sid);
        engine.meters.open.decrement(1);
        self.wakes_task = true;
        self.wakes_poll = true;
    }
}

fn close_frame(payload: &[u8]) -> Frame {
    let head = [0x88, payload.len() as u8];
    let bytes = [&head, payload].concat();
    Frame::raw(Bytes::from(bytes), head.len())
}
