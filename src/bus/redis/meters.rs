//! The metrics of the bus, looked up once.

use crate::{
    metrics::{
        BUS_MESSAGES_IGNORED, Counter, Histogram, Level, REDIS_COMMAND_DURATION, REDIS_CONNECTED,
        REDIS_RECONNECTS,
    },
    wire::DecodeError,
};

#[derive(Debug)]
pub(super) struct Meters {
    pub(super) connected: Level,
    reconnects: Counter,
    /// How long Redis takes to publish an event.
    pub(super) publish: Histogram,
    ignored: [(&'static str, Counter); DecodeError::LABELS.len()],
}

impl Meters {
    pub(super) fn new() -> Self {
        let ignored = |why| (why, BUS_MESSAGES_IGNORED.with_label_values(&[why]));
        Self {
            connected: REDIS_CONNECTED.with_label_values(&["subscriber"]),
            reconnects: REDIS_RECONNECTS.with_label_values(&["subscriber"]),
            publish: REDIS_COMMAND_DURATION.with_label_values(&["publish"]),
            ignored: DecodeError::LABELS.map(ignored),
        }
    }

    /// The subscriber connection is gone.
    pub(super) fn lost(&self) {
        if self.connected.get() > 0 {
            self.reconnects.inc();
        }
        self.connected.set(0);
    }

    pub(super) fn ignored(&self, error: &DecodeError) -> &Counter {
        let label = error.label();
        let known = self.ignored.iter().find(|(why, _)| *why == label);
        &known.unwrap_or(&self.ignored[0]).1
    }
}
