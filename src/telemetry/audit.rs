//! The audit log: what callers did to users or failed to do, what was reloaded, which clients were
//! refused at a limit.

use std::fmt::Display;

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
    RemoveSession,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub enum Done {
    /// The number of sockets that were disconnected.
    Disconnected(u64),
    /// Whether there was a session.
    Removed(bool),
}

/// Logs what a caller did to a user, or failed to do.
pub fn audit(act: Act<'_>, user: &UserId, result: Result<Done, &impl Display>) {
    let (act, reason, invalidates_session) = match act {
        Act::ForceLogout => ("force-logout", None, None),
        Act::Kick {
            reason,
            invalidates_session,
        } => ("kick", Some(reason.as_str()), Some(invalidates_session)),
        Act::RemoveSession => ("remove-session", None, None),
    };
    let (disconnected, removed, error) = match result {
        Ok(Done::Disconnected(count)) => (Some(count), None, None),
        Ok(Done::Removed(removed)) => (None, Some(removed), None),
        Err(error) => (None, None, Some(error.to_string())),
    };
    tracing::info!(
        target: AUDIT,
        act,
        %user,
        reason,
        invalidates_session,
        disconnected,
        removed,
        error,
        "audit"
    );
}
