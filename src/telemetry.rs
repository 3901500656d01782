//! What the process tells of itself: logs on stderr, figures for Prometheus.

use std::{
    env,
    io::{self, IsTerminal},
};

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts to log. Once a process.
///
/// # Errors
/// A filter that cannot be read, or a second call.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).with_context(|| {
        format!(
            "log.level: {:?} is not a filter such as info,sockd=debug",
            log.level
        )
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Who reads the log may go away; a complaint about it on the same stderr would panic.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    let started = match log.format {
        LogFormat::Text => subscriber
            .with_target(false)
            .with_ansi(wants_colour(&io::stderr()))
            .try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}

/// Colour only on a terminal that knows it, and never with `NO_COLOR` (<https://no-color.org>).
pub fn wants_colour(to: &impl IsTerminal) -> bool {
    to.is_terminal()
        && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Starts to count; the handle renders what was counted.
///
/// # Errors
/// A second call in one process.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .install_recorder()
        .context("metrics cannot start")
}
