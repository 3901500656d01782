//! What all connections of the node share.

use std::sync::Arc;

use super::{
    access::AccessLog,
    capacity::Capacity,
    connection::{Connection, Ending},
    entrance::Entrance,
    registry::{Registry, Sid},
    ticker::Ticker,
};
use crate::{
    config::{self, Config},
    label::labels,
    lifecycle::Lifecycle,
    metrics::{
        CONNECTIONS_ENDED, CONNECTIONS_OPENED, Counter, Level, RECEIVED_BYTES, SENT_BYTES,
        SOCKETS_BY_TRANSPORT, SOCKETS_DISMISSED,
    },
    reload::Current,
    wire::{EVENT_EXPIRED, EVENT_LOGOUT, Frame},
};

pub(super) struct Engine {
    pub(super) socketio: config::SocketIo,
    pub(super) current: Current,
    pub(super) capacity: Arc<Capacity>,
    pub(super) entrance: Entrance,
    pub(super) registry: Registry,
    pub(super) ticker: Arc<Ticker<Connection>>,
    pub(super) lifecycle: Lifecycle,
    pub(super) meters: Meters,
    pub(super) access: AccessLog,
}

impl Engine {
    /// Starts the timers that connections use.
    pub(super) fn start(
        config: &Config,
        current: Current,
        entrance: Entrance,
        lifecycle: &Lifecycle,
    ) -> Arc<Self> {
        let ticker = Arc::new(Ticker::new());
        lifecycle.spawn(ticker.clone().run());
        let capacity = Arc::new(Capacity::new());
        lifecycle.spawn(capacity.clone().log_ends());
        Arc::new(Self {
            socketio: config.socketio.clone(),
            current,
            capacity,
            entrance,
            registry: Registry::new(),
            ticker,
            lifecycle: lifecycle.clone(),
            meters: Meters::new(),
            access: AccessLog::new(config.log.access),
        })
    }

    /// The packet that opens a connection on a transport with these upgrades.
    pub(super) fn open_packet(&self, sid: Sid, upgrades: &str) -> Frame {
        let config::SocketIo {
            ping_interval,
            ping_timeout,
            max_payload,
            ..
        } = &self.socketio;
        Frame::text(&[&format!(
            r#"0{{"sid":"{sid}","upgrades":[{upgrades}],"pingInterval":{},"pingTimeout":{},"maxPayload":{max_payload}}}"#,
            ping_interval.as_millis(),
            ping_timeout.as_millis(),
        )])
    }
}

labels! {
    /// A transport of Engine.IO.
    pub(super) enum TransportKind {
        Polling => "polling",
        WebSocket => "websocket",
    }
}

/// The metrics that every client changes, looked up once.
pub(super) struct Meters {
    transports: [TransportMeters; TransportKind::ALL.len()],
    /// Bytes of answers to polls; a [`RawStream`](super::raw_stream::RawStream) counts its own.
    pub(super) polled: Counter,
    pub(super) logged_out: Counter,
    pub(super) expired: Counter,
    ended: [Counter; Ending::ALL.len()],
}

/// The metrics of one transport.
pub(super) struct TransportMeters {
    pub(super) opened: Counter,
    pub(super) joined: Level,
    pub(super) received: Counter,
}

impl TransportMeters {
    fn new(transport: TransportKind) -> Self {
        let transport = &[transport.label()];
        Self {
            opened: CONNECTIONS_OPENED.with_label_values(transport),
            joined: SOCKETS_BY_TRANSPORT.with_label_values(transport),
            received: RECEIVED_BYTES.with_label_values(transport),
        }
    }
}

impl Meters {
    fn new() -> Self {
        Self {
            transports: TransportKind::ALL.map(TransportMeters::new),
            polled: SENT_BYTES.with_label_values(&[TransportKind::Polling.label()]),
            logged_out: SOCKETS_DISMISSED.with_label_values(&[EVENT_LOGOUT]),
            expired: SOCKETS_DISMISSED.with_label_values(&[EVENT_EXPIRED]),
            ended: Ending::ALL.map(|ending| CONNECTIONS_ENDED.with_label_values(&[ending.label()])),
        }
    }

    pub(super) fn of(&self, transport: TransportKind) -> &TransportMeters {
        &self.transports[transport as usize]
    }

    pub(super) fn ended(&self, ending: Ending) -> &Counter {
        &self.ended[ending as usize]
    }
}
