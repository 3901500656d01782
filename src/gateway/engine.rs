//! What all connections of the node share.

use std::sync::Arc;

use metrics::Counter;

use super::{
    capacity::Capacity,
    connection::{Connection, Ending},
    entrance::Entrance,
    registry::{Registry, Sid},
    ticker::Ticker,
};
use crate::{
    config::{self, Config},
    lifecycle::Lifecycle,
    wire::Frame,
};

pub(super) struct Engine {
    pub(super) socketio: config::SocketIo,
    pub(super) limits: config::Limits,
    pub(super) capacity: Capacity,
    pub(super) entrance: Entrance,
    pub(super) registry: Registry,
    pub(super) ticker: Arc<Ticker<Connection>>,
    pub(super) lifecycle: Lifecycle,
    pub(super) meters: Meters,
}

impl Engine {
    /// Starts the clock of the connections to come.
    pub(super) fn start(config: &Config, entrance: Entrance, lifecycle: &Lifecycle) -> Arc<Self> {
        let ticker = Arc::new(Ticker::new());
        lifecycle.spawn(ticker.clone().run());
        Arc::new(Self {
            socketio: config.socketio.clone(),
            limits: config.limits.clone(),
            capacity: Capacity::new(&config.limits),
            entrance,
            registry: Registry::new(),
            ticker,
            lifecycle: lifecycle.clone(),
            meters: Meters::new(),
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

/// The figures that every client moves, looked up once.
pub(super) struct Meters {
    ended: [Counter; Ending::ALL.len()],
}

impl Meters {
    fn new() -> Self {
        let ended = |ending: Ending| metrics::counter!("sockd_connections_ended_total", "why" => ending.label());
        Self {
            ended: Ending::ALL.map(ended),
        }
    }

    pub(super) fn ended(&self, ending: Ending) -> &Counter {
        &self.ended[ending as usize]
    }
}
