//! The audit log: who was logged out, what was reloaded, which
//! clients were refused at a limit.

use std::fmt::Display;

use tracing::field::display;

use crate::{id::UserId, wire::LogoutReason};

/// The target of these lines, by which a filter or a collector finds them.
pub const AUDIT: &str = "sockd::audit";

/// What a caller does to a user.
#[derive(Debug, Clone, Copy)]
pub enum Act<'a> {
    ForceLogout,
    Kick {
        reason: &'a LogoutReason,
        invalidates_session: bool,
    },
}

/// Logs what a caller did to a user, and how many sockets it disconnected.
pub fn audit(act: Act<'_>, user: &UserId, result: Result<u64, &impl Display>) {
    let (act, reason, invalidates_session) = match act {
        Act::ForceLogout => ("force-logout", None, None),
        Act::Kick {
            reason,
            invalidates_session,
        } => ("kick", Some(display(reason)), Some(invalidates_session)),
    };
    let (disconnected, error) = match result {
        Ok(disconnected) => (Some(disconnected), None),
        Err(error) => (None, Some(display(error))),
    };
    tracing::info!(
        target: AUDIT,
        act,
        %user,
        reason,
        invalidates_session,
        disconnected,
        error,
        "audit"
    );
}
