//! Logs on stderr.

mod audit;
mod episode;
mod log;
mod text;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    env,
    fmt::Display,
    io::{self, IsTerminal},
    panic,
    sync::OnceLock,
    time::{Duration, Instant},
};

use thiserror::Error;
use tracing_subscriber::{EnvFilter, filter::ParseError, reload};

pub use self::{
    audit::{AUDIT, Act, Done, audit},
    episode::Episode,
};
use self::{log::LOG, text::TextFields};
use crate::config::{Log, LogFormat};

/// How long the exit waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why logs cannot start.
#[derive(Debug, Error)]
pub enum TelemetryError {
    #[error("log.level: {level:?} is not a filter such as info,sockd=debug")]
    Filter {
        level: String,
        #[source]
        source: ParseError,
    },
    #[error("failed to start logging")]
    Logging(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("failed to replace the filter of the log")]
    Reload(#[source] reload::Error),
    #[error("failed to start the log thread; check the limits of this user (ulimit -u)")]
    Thread(#[source] io::Error),
}

/// Starts logging; can be called once per process. From then on, log lines, [`note`]s and panics are
/// queued, and none of them blocks when stderr is not read.
///
/// # Errors
/// An invalid filter, a second call, or no more threads.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let filter = filter(&log.level)?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // They would bypass the queue.
        .log_internal_errors(false)
        .with_writer(|| &LOG);
    let started = match log.format {
        LogFormat::Text => {
            let subscriber = subscriber
                .with_target(false)
                .fmt_fields(TextFields)
                .with_ansi(wants_colour(&io::stderr()))
                .with_filter_reloading();
            let filter = subscriber.reload_handle();
            keep_filter(move |next| filter.reload(next));
            subscriber.try_init()
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true);
            let subscriber = subscriber.with_filter_reloading();
            let filter = subscriber.reload_handle();
            keep_filter(move |next| filter.reload(next));
            subscriber.try_init()
        }
    };
    started.map_err(TelemetryError::Logging)?;
    LOG.start().map_err(TelemetryError::Thread)?;
    log_panics();
    Ok(())
}

/// Replaces the filter of the log, if it was started.
///
/// # Errors
/// An invalid filter.
pub fn set_level(level: &str) -> Result<(), TelemetryError> {
    let filter = filter(level)?;
    match SET_FILTER.get() {
        Some(set) => set(filter).map_err(TelemetryError::Reload),
        None => Ok(()),
    }
}

/// Set once, when the log starts: the filter's type depends on the format.
static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

fn keep_filter(set: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static) {
    // A second log cannot start, so the first keeps its filter.
    SET_FILTER.set(Box::new(set)).ok();
}

fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(level).map_err(|source| TelemetryError::Filter {
        level: level.to_owned(),
        source,
    })
}

/// Colour only on a terminal that knows it, and never with `NO_COLOR` (<https://no-color.org>).
pub fn wants_colour(to: &impl IsTerminal) -> bool {
    to.is_terminal()
        && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Logs panics. The default hook writes to stderr directly, which can block.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let panic_text = panic.payload_as_str().unwrap_or("(not a string)");
        let location = panic.location().map(ToString::to_string);
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(
            panic = panic_text,
            location,
            backtrace = backtrace.map(tracing::field::display),
            "panicked"
        );
    }));
}

/// Writes a text to stderr, in order with the lines of a log that has started.
pub fn note(text: impl Display) {
    LOG.push(format!("{text}\n").as_bytes());
}

/// Waits until all log lines are written or the deadline has passed.
pub async fn flush(until: Instant) {
    tokio::task::spawn_blocking(move || LOG.flush(until))
        .await
        .ok();
}

/// Flushes the log when dropped, also when `main` panics.
#[derive(Debug)]
pub struct LastLines;

impl Drop for LastLines {
    fn drop(&mut self) {
        LOG.flush(Instant::now() + LAST_LINES);
    }
}

/// Returns the number of log lines dropped since the start.
pub fn dropped_lines() -> u64 {
    LOG.dropped()
}
