//! What is counted and measured, for Prometheus.
//!
//! Every metric is an entry of the one table below: what it means, its kind, its name and its labels.
//! To add one, add an entry, and a line to `docs/metrics.md`, which a test compares with `/metrics`.
//! Units are seconds and bytes. Label values come from sockd or its configuration, never from clients
//! or callers, so that no client can create series.
//!
//! Code that updates a labelled metric looks its series up once, at the start, so that it shows 0 until
//! something happens. The others cost an atomic addition each, and a histogram four.

pub mod figures;
#[cfg(target_os = "linux")]
mod process;

use std::sync::{LazyLock, Mutex, PoisonError};

use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
    core::{Collector, GenericCounter},
};
pub use prometheus::{Histogram, IntCounter as Counter, IntGauge as Level};

pub use self::figures::figures;

/// From the fraction of a millisecond that an event takes to the time limits of requests.
const SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];
/// From one device to a crowd on one account.
const SOCKETS_REACHED: &[f64] = &[1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1_000.0, 10_000.0];

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

macro_rules! metrics {
    ($(
        $(#[doc = $help:literal])*
        $NAME:ident: $Family:ident = $name:literal
            $([$($label:literal $(= $($value:literal)|+)?),*])? $(in $buckets:ident)?;
    )*) => {
        $($(#[doc = $help])*
        pub static $NAME: LazyLock<$Family> = LazyLock::new(|| {
            let help = concat!($($help),*).trim();
            register(<$Family>::make($name, help, &[$($($label),*)?], first!($($buckets,)? &[])))
        });)*

        /// Registers every metric, so that those without labels, and those whose label values are in the
        /// table, show 0 from the start.
        pub fn start() {
            $(LazyLock::force(&$NAME);)*
            $($($($($($NAME.with_label_values(&[$value]);)+)?)*)?)*
        }
    };
}

macro_rules! first {
    ($first:expr $(, $others:expr)* $(,)?) => {
        $first
    };
}

metrics! {
    /// Sockets: clients that have joined and are not dismissed.
    SOCKETS: IntGauge = "sockd_sockets";
    /// Clients that have joined, by the transport that they are on now.
    SOCKETS_BY_TRANSPORT: IntGaugeVec = "sockd_sockets_by_transport" ["transport"];
    /// Open Engine.IO connections, joined or not.
    CONNECTIONS: IntGauge = "sockd_connections";
    /// Connections without a socket: Engine.IO connections that have not joined, and TCP connections without a request.
    UNJOINED_CONNECTIONS: IntGauge = "sockd_unjoined_connections";
    /// Engine.IO connections that were opened, by their first transport.
    CONNECTIONS_OPENED: IntCounterVec = "sockd_connections_opened_total" ["transport"];
    /// Engine.IO connections that have ended, by the reason.
    CONNECTIONS_ENDED: IntCounterVec = "sockd_connections_ended_total" ["why"];
    /// Clients that were refused, by the limit that was reached.
    LIMIT_REFUSALS: IntCounterVec = "sockd_limit_refusals_total" ["limit"];
    /// Connections closed because the PROXY protocol is on and their header is missing, malformed or late, by the listener's section.
    PROXY_PROTOCOL_REFUSALS: IntCounterVec = "sockd_proxy_protocol_refusals_total" ["listener", "why"];
    /// TLS handshakes that failed, by the listener's section and the reason.
    TLS_HANDSHAKE_FAILURES: IntCounterVec = "sockd_tls_handshake_failures_total" ["listener", "why"];
    /// New certificates that were read from changed files, by the listener's section and the result.
    TLS_CERTIFICATE_READS: IntCounterVec = "sockd_tls_certificate_reads_total" ["listener", "result"];
    /// When the certificate expires, as a Unix time, by the listener's section.
    TLS_CERTIFICATE_EXPIRY: IntGaugeVec = "sockd_tls_certificate_expiry_timestamp_seconds" ["listener"];
    /// Bytes of frames and payloads received from clients, by transport.
    RECEIVED_BYTES: IntCounterVec = "sockd_received_bytes_total" ["transport"];
    /// Bytes of frames and payloads sent to clients, by transport.
    SENT_BYTES: IntCounterVec = "sockd_sent_bytes_total" ["transport"];
    /// Bytes that are queued for clients, with what the queues themselves cost.
    OUTBOUND_QUEUED_BYTES: IntGauge = "sockd_outbound_queued_bytes";

    /// Answered handshakes (CONNECTs), by the answer.
    HANDSHAKES: IntCounterVec = "sockd_handshakes_total" ["answer"];
    /// CONNECTs whose token or session is being checked.
    HANDSHAKES_IN_PROGRESS: IntGauge = "sockd_handshakes_in_progress";
    /// Time from a CONNECT to its answer, by the answer.
    HANDSHAKE_DURATION: HistogramVec = "sockd_handshake_duration_seconds" ["answer"] in SECONDS;

    /// Events that backends emitted on this node, by the entry of events.supported that they match.
    EMITS: IntCounterVec = "sockd_emits_total" ["event"];
    /// Time from an emit request's head until its event was written to or queued for all sockets on this node, by the result.
    EMIT_DURATION: HistogramVec = "sockd_emit_duration_seconds" ["result"] in SECONDS;
    /// Sockets on this node of the user that an event was for, of events whose user has any here.
    EVENT_SOCKETS: Histogram = "sockd_event_sockets" in SOCKETS_REACHED;
    /// Events sent to sockets on this node, counted once per socket.
    EVENTS_SENT: IntCounter = "sockd_events_sent_total";
    /// Events that wait for a check of the user's sessions or for others of the user's sockets.
    EVENTS_WAITING: IntGauge = "sockd_events_waiting";
    /// Events that were dropped because too much was waiting for one user.
    EVENTS_DROPPED: IntCounter = "sockd_events_dropped_total";
    /// Traces of users that run on this node, those of callers of other nodes included.
    TRACES: IntGauge = "sockd_traces";
    /// Internal requests that were refused because too many were running.
    INTERNAL_OVERLOADED: IntCounter = "sockd_internal_overloaded_total";

    /// Sessions that became the active one in a handshake.
    SESSIONS_ADOPTED: IntCounter = "sockd_sessions_adopted_total";
    /// Force-logout requests.
    FORCE_LOGOUTS: IntCounter = "sockd_force_logouts_total";
    /// Kick requests.
    KICKS: IntCounter = "sockd_kicks_total";
    /// Sessions that became the active one by a force-logout or a kick.
    SESSIONS_REPLACED: IntCounter = "sockd_sessions_replaced_total";
    /// Sockets that were told to go, by the event that told them.
    SOCKETS_DISMISSED: IntCounterVec = "sockd_sockets_dismissed_total" ["event"];
    /// Sockets of replaced sessions that a sweep has found: no message had told this node.
    SOCKETS_SWEPT: IntCounter = "sockd_sockets_swept_total";

    /// Reloads of the configuration, by the result.
    RELOADS: IntCounterVec = "sockd_reloads_total" ["result" = "ok" | "failed"];
    /// Whether the node does its work (1), as /readyz tells it.
    READY: IntGauge = "sockd_ready";
    /// Whether there is a working connection to the Redis master (1), by what it is for.
    REDIS_CONNECTED: IntGaugeVec = "sockd_redis_connected" ["link"];
    /// Connections to Redis that were lost and had to be opened again, by what they were for.
    REDIS_RECONNECTS: IntCounterVec = "sockd_redis_reconnects_total" ["link"];
    /// Time that a message to this node itself takes over Redis.
    REDIS_CANARY: Histogram = "sockd_redis_canary_round_trip_seconds" in SECONDS;
    /// Time that Redis takes for a command or a script, failed ones included.
    REDIS_COMMAND_DURATION: HistogramVec = "sockd_redis_command_duration_seconds" ["command"] in SECONDS;
    /// Messages of other nodes that were dropped because too many waited.
    BUS_MESSAGES_DROPPED: IntCounter = "sockd_bus_messages_dropped_total";
    /// Messages of other nodes that this release does not understand, by the reason.
    BUS_MESSAGES_IGNORED: IntCounterVec = "sockd_bus_messages_ignored_total" ["why"];

    /// Log lines that were dropped because stderr was read too slowly or could not be written.
    LOG_LINES_DROPPED: IntCounter = "sockd_log_lines_dropped_total";
    /// Keys of the key set that verify tokens.
    JWKS_KEYS: IntGauge = "sockd_jwks_keys";
    /// Keys of the key set that are not used, such as weak ones and those for encryption.
    JWKS_SKIPPED_KEYS: IntGauge = "sockd_jwks_skipped_keys";
    /// Reads of the key set, by the result.
    JWKS_READS: IntCounterVec = "sockd_jwks_reads_total" ["result" = "ok" | "failed"];
    /// When the key set was last read with success, as a Unix time; 0 without one.
    JWKS_LAST_SUCCESS: IntGauge = "sockd_jwks_last_success_timestamp_seconds";

    /// Always 1; the label is the release.
    BUILD_INFO: IntGaugeVec = "sockd_build_info" ["version"];
    /// CPU time that the process has used.
    PROCESS_CPU: Seconds = "process_cpu_seconds_total";
    /// Open files of the process, sockets included.
    PROCESS_OPEN_FDS: IntGauge = "process_open_fds";
    /// The limit of open files; 0 for none.
    PROCESS_MAX_FDS: IntGauge = "process_max_fds";
    /// Memory that the process holds.
    PROCESS_RESIDENT_MEMORY: IntGauge = "process_resident_memory_bytes";
    /// Address space that the process has reserved.
    PROCESS_VIRTUAL_MEMORY: IntGauge = "process_virtual_memory_bytes";
    /// Threads of the process.
    PROCESS_THREADS: IntGauge = "process_threads";
    /// When the process was started, as a Unix time.
    PROCESS_START_TIME: Gauge = "process_start_time_seconds";
}

/// Bytes written to WebSockets.
pub static WEBSOCKET_SENT: LazyLock<IntCounter> =
    LazyLock::new(|| SENT_BYTES.with_label_values(&["websocket"]));

type Seconds = prometheus::Counter;

/// Values that are read at each scrape.
#[derive(Debug, Clone, Copy)]
pub struct Present {
    pub sockets: usize,
    pub is_ready: bool,
    pub dropped_log_lines: u64,
}

/// The text of `/metrics`, as it is now.
pub fn render(present: Present) -> String {
    refresh(present);
    let mut text = String::new();
    // Fails only for a family without series, which a registry leaves out.
    TextEncoder::new()
        .encode_utf8(&REGISTRY.gather(), &mut text)
        .ok();
    text
}

/// Updates the metrics of what is counted or measured elsewhere.
fn refresh(present: Present) {
    // Two scrapes at once must not both add what was counted elsewhere.
    static SCRAPE: Mutex<()> = Mutex::new(());
    let _scrape = SCRAPE.lock().unwrap_or_else(PoisonError::into_inner);
    SOCKETS.set(present.sockets as i64);
    READY.set(i64::from(present.is_ready));
    raise(&LOG_LINES_DROPPED, present.dropped_log_lines);
    BUILD_INFO
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1);
    #[cfg(target_os = "linux")]
    process::update();
}

/// Raises a counter to a number that is counted elsewhere and only grows.
fn raise<P: prometheus::core::Atomic>(counter: &GenericCounter<P>, to: P::T)
where
    P::T: PartialOrd + std::ops::Sub<Output = P::T>,
{
    let counted = counter.get();
    if to > counted {
        counter.inc_by(to - counted);
    }
}

fn register<M: Collector + Clone + 'static>(metric: M) -> M {
    let known = REGISTRY.register(Box::new(metric.clone()));
    known.expect("the table has each name once");
    metric
}

trait Make {
    fn make(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Self;
}

macro_rules! make {
    ($($Family:ident)*; $($LabelledFamily:ident)*) => {
        $(impl Make for $Family {
            fn make(name: &str, help: &str, _: &[&str], _: &[f64]) -> Self {
                Self::new(name, help).expect(VALID)
            }
        })*
        $(impl Make for $LabelledFamily {
            fn make(name: &str, help: &str, labels: &[&str], _: &[f64]) -> Self {
                Self::new(Opts::new(name, help), labels).expect(VALID)
            }
        })*
    };
}

const VALID: &str = "the table has valid names and a text for each";

make!(IntCounter IntGauge Gauge Seconds; IntCounterVec IntGaugeVec);

impl Make for Histogram {
    fn make(name: &str, help: &str, _: &[&str], buckets: &[f64]) -> Self {
        Self::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())).expect(VALID)
    }
}

impl Make for HistogramVec {
    fn make(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Self {
        Self::new(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
            labels,
        )
        .expect(VALID)
    }
}
