//! The figures that operators see without Prometheus, from the same metrics.

use prometheus::{IntCounterVec, IntGaugeVec, core::Collector, proto::Metric};

use super::{
    CONNECTIONS, CONNECTIONS_ENDED, CONNECTIONS_OPENED, EMITS, EVENTS_DROPPED, EVENTS_SENT,
    HANDSHAKES, HANDSHAKES_IN_PROGRESS, LIMIT_REFUSALS, PROCESS_MAX_FDS, PROCESS_OPEN_FDS,
    PROCESS_RESIDENT_MEMORY, Present, RECEIVED_BYTES, REDIS_CANARY, REDIS_CONNECTED,
    REDIS_RECONNECTS, SENT_BYTES, SOCKETS, SOCKETS_BY_TRANSPORT, UNJOINED_CONNECTIONS, refresh,
};
use crate::wire::{Figures, RedisStatus, Totals};

/// The figures as they are now.
pub fn figures(present: Present) -> Figures {
    refresh(present);
    let joined = |transport| gauge(&SOCKETS_BY_TRANSPORT, transport);
    let handshakes = counters(&HANDSHAKES);
    let refused = handshakes.iter().filter(|(answer, _)| answer != "ok");
    Figures {
        sockets: natural(SOCKETS.get()),
        websocket: joined("websocket"),
        polling: joined("polling"),
        connections: natural(CONNECTIONS.get()),
        unjoined_connections: natural(UNJOINED_CONNECTIONS.get()),
        handshakes_in_progress: natural(HANDSHAKES_IN_PROGRESS.get()),
        resident_memory_bytes: natural(PROCESS_RESIDENT_MEMORY.get()),
        open_files: natural(PROCESS_OPEN_FDS.get()),
        open_files_limit: natural(PROCESS_MAX_FDS.get()),
        totals: Totals {
            connections_opened: sum(&CONNECTIONS_OPENED),
            connections_ended: sum(&CONNECTIONS_ENDED),
            handshakes: sum(&HANDSHAKES),
            handshakes_refused: refused.map(|(_, count)| count).sum(),
            emits: sum(&EMITS),
            events_sent: EVENTS_SENT.get(),
            events_dropped: EVENTS_DROPPED.get(),
            received_bytes: sum(&RECEIVED_BYTES),
            sent_bytes: sum(&SENT_BYTES),
        },
    }
}

/// The links to Redis.
pub fn redis() -> RedisStatus {
    RedisStatus {
        commands_connected: gauge(&REDIS_CONNECTED, "commands") > 0,
        subscriber_connected: gauge(&REDIS_CONNECTED, "subscriber") > 0,
        reconnects: sum(&REDIS_RECONNECTS),
        round_trips: REDIS_CANARY.get_sample_count(),
        round_trip_seconds: REDIS_CANARY.get_sample_sum(),
    }
}

/// How often each limit has refused a client.
pub fn refusals() -> Vec<(String, u64)> {
    counters(&LIMIT_REFUSALS)
}

fn sum(family: &IntCounterVec) -> u64 {
    counters(family).iter().map(|(_, count)| count).sum()
}

/// Each series of a family with one label. Looking a series up by its label would create it.
fn counters(family: &IntCounterVec) -> Vec<(String, u64)> {
    series(family, |metric| metric.get_counter().get_value())
}

fn gauge(family: &IntGaugeVec, label: &str) -> u64 {
    let gauges = series(family, |metric| metric.get_gauge().get_value());
    let found = gauges.iter().find(|(known, _)| known == label);
    found.map_or(0, |(_, value)| *value)
}

fn series(family: &impl Collector, value: impl Fn(&Metric) -> f64) -> Vec<(String, u64)> {
    let families = family.collect();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    let label = |metric: &Metric| {
        metric
            .get_label()
            .first()
            .map(|label| label.value().to_owned())
    };
    metrics
        .map(|metric| (label(metric).unwrap_or_default(), value(metric) as u64))
        .collect()
}

fn natural(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
