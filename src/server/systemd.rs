//! Notifies systemd, if it started the server with `Type=notify` or `notify-reload`
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>). Elsewhere
//! `NOTIFY_SOCKET` is not set, and nothing is sent.

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "failed to read the clock for systemd"),
    }
}

pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Notifies twice per `WatchdogSec=` that the runtime still runs tasks, until dropped.
pub(super) async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = interval(limit / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "failed to notify systemd");
    }
}
