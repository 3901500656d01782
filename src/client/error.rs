//! Why a call failed, and what to do about it.

use std::{error::Error as StdError, io, iter, path::PathBuf};

use thiserror::Error;

use crate::wire::unix_path;

/// What a node is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Emit,
    ForceLogout,
    Kick,
    RemoveSession,
    Drain,
    Reload,
    /// It only reads, and changes nothing.
    Read,
}

impl Call {
    fn if_unanswered(self) -> &'static str {
        match self {
            Self::Read => "try again",
            _ => "it may have been carried out",
        }
    }
}

/// Why a call failed. The text never contains the secret or a payload.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error(
        "{0:?} is not the address of a node; give one such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock with --url or SOCKD_URL"
    )]
    Url(String),
    #[error(
        "the secret for the internal API {0}, so it cannot be sent in an Authorization header; give the one that the node runs with"
    )]
    Secret(&'static str),
    #[error(
        "failed to set up the HTTP client; check that the system's CA certificates are installed"
    )]
    Setup(#[source] reqwest::Error),
    #[error(
        "connections cannot begin with a PROXY protocol header on this system; call the node from Linux, or where it demands none"
    )]
    Relay(#[source] io::Error),
    #[error(
        "no answer from {url}; start sockd there, or name another node with --url or SOCKD_URL"
    )]
    Unreachable {
        url: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error(
        "this user is not allowed to connect to {url}; add it to the socket's group (internal.socket_group), or use sudo"
    )]
    NotAllowed {
        url: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error(
        "no TLS connection with {url}; name its authority in internal.command_ca_file, a host that its certificate is for with --url, and what it asks you to show in internal.command_cert_file"
    )]
    Untrusted {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("failed to read {}; let this user read it, or name another file under [internal]", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a PEM of what internal.command_ca_file, command_cert_file or command_key_file names; name the right file", .0.display())]
    Tls(PathBuf),
    #[error(
        "{url} received the request but did not answer; {}; if its listener has proxy_protocol, use --proxy-protocol",
        call.if_unanswered()
    )]
    NoAnswer {
        url: String,
        call: Call,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "{0} does not accept the secret; give the one it runs with in INTERNAL_SECRET, the configuration or --secret-file"
    )]
    Unauthorized(String),
    #[error("{url} refuses with {status} {code}{}", remedy(*.call, .code))]
    Refused {
        url: String,
        call: Call,
        status: u16,
        code: String,
    },
    #[error("{url} keeps its configuration, the new one has mistakes:\n  {}", .problems.join("\n  "))]
    Mistakes { url: String, problems: Vec<String> },
    #[error("the connection with {url} was lost, and the trace with it; start it again")]
    Lost {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "{url} has sent no line of the trace for 15 s; a proxy may hold the lines back, call the node directly"
    )]
    Silent { url: String },
    #[error("{url} returned {status}, but is not sockd; check that --url names a node")]
    Unintelligible { url: String, status: u16 },
}

impl ClientError {
    /// Why a request got no response.
    pub(super) fn of_request(call: Call, url: &str, error: reqwest::Error) -> Self {
        let (url, source) = (url.to_owned(), error.without_url());
        if is_tls_error(&source) {
            Self::Untrusted { url, source }
        } else if source.is_connect() {
            Self::unreachable(&url, source)
        } else {
            Self::NoAnswer { url, call, source }
        }
    }

    /// Why there is no connection.
    pub(super) fn unreachable(url: &str, error: impl StdError + Send + Sync + 'static) -> Self {
        let (url, is_denied) = (url.to_owned(), is_permission_denied(&error));
        let source = Box::new(error);
        if unix_path(&url).is_some() && is_denied {
            Self::NotAllowed { url, source }
        } else {
            Self::Unreachable { url, source }
        }
    }

    /// Whether no response came, so that other calls will probably fail in the same way.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::NotAllowed { .. }
                | Self::Untrusted { .. }
                | Self::NoAnswer { .. }
        )
    }

    /// Whether it is a response of a node that accepted the secret.
    pub fn is_of_node(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Mistakes { .. })
    }

    /// Whether the call may have taken effect, at least in part: an event that is sent again may then
    /// arrive twice.
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            // The sockets of the node that answered have the event; others may not.
            Self::Refused { code, .. } => code == BUS_UNAVAILABLE,
            // A proxy may have lost the response, or the server may not be sockd.
            Self::Unintelligible { status, .. } => *status < 400 || *status >= 500,
            Self::Url(_)
            | Self::Secret(_)
            | Self::Setup(_)
            | Self::Relay(_)
            | Self::Unreachable { .. }
            | Self::NotAllowed { .. }
            | Self::Untrusted { .. }
            | Self::File { .. }
            | Self::Tls(_)
            | Self::Unauthorized(_)
            | Self::Mistakes { .. }
            | Self::Lost { .. }
            | Self::Silent { .. } => false,
        }
    }
}

const BUS_UNAVAILABLE: &str = "BUS_UNAVAILABLE";

/// What to do about a refusal.
fn remedy(call: Call, code: &str) -> &'static str {
    match code {
        BUS_UNAVAILABLE if call == Call::Emit => {
            ": it could not reach every node, so its own sockets have the event, but those of other nodes may not; send it again when Redis is back if it does no harm twice"
        }
        BUS_UNAVAILABLE => {
            ": it could not reach every node, so its own sockets are closed, but those of other nodes may not be; do it again when Redis is back"
        }
        "DRAINING" if call == Call::Drain => {
            ": it is shutting down, and closes all its connections anyway"
        }
        "DRAINING" if call == Call::Reload => {
            ": it is shutting down, and reads its configuration when it starts again"
        }
        "DRAINING" => ": it is shutting down; ask another node",
        "FORBIDDEN" => ": a proxy adds browser headers (Sec-Fetch-*); call the node directly",
        "INVALID_CONFIGURATION" => ": its configuration has mistakes; its log lists them",
        "INVALID_EVENT" => ": the event is not supported there; see events.supported",
        "INVALID_HOST" => ": a proxy changes the header Host; call the node directly",
        "INVALID_OVER_SECONDS" => ": the time must be at most a day",
        "INVALID_REASON" => ": the reason must be 1 to 64 printable ASCII characters",
        "INVALID_SESSION_ID" => {
            ": the session id does not have the configured format; see ids.session"
        }
        "INVALID_SHARE" => ": the share must be a number from 0 to 1",
        "INVALID_USER_ID" => ": the user id does not have the configured format; see ids.user",
        "LOCAL_ONLY" => ": it runs with --dev, for its own machine only; call it as localhost",
        "NOT_FOUND" => ": it does not know the route; check that it is not older than this command",
        "OVERLOADED" => ": it already handles internal.concurrency requests; try again",
        "PAYLOAD_TOO_LARGE" => ": the request is too long; see internal.max_body",
        "PEER_TOO_OLD" => {
            ": another node runs a release that cannot do this; upgrade the one that its log names first"
        }
        "REQUEST_TIMEOUT" => {
            ": the request took longer than server.body_timeout to arrive; try again"
        }
        "REDIS_UNAVAILABLE" => ": it cannot reach Redis; try again when Redis is back",
        "SESSIONS_IN_REDIS" => {
            ": its sessions are in Redis; set redis.url or REDIS_HOST to the same Redis, and leave out --url if sessions are listed"
        }
        "TOO_MANY_TRACES" => {
            ": it already runs as many traces as it allows; end one, or ask another node"
        }
        _ => "; its log says more",
    }
}

/// Whether there is no TLS connection. A node refuses the certificate of a command only after the command
/// has sent its request, but before it looks at it.
pub fn is_tls_error(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.is::<rustls::Error>())
}

/// Whether the system forbids this user to connect.
fn is_permission_denied(error: &(dyn StdError + 'static)) -> bool {
    let mut causes = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes
        .next()
        .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Returns the error and all its causes.
fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    iter::successors(Some(error), |error| {
        let error: &'e (dyn StdError + 'static) = *error;
        // The source of an I/O error is that of the error in it.
        let inner = error.downcast_ref().and_then(io::Error::get_ref);
        inner.map_or_else(|| error.source(), |inner| Some(inner))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: [Call; 7] = [
        Call::Emit,
        Call::ForceLogout,
        Call::Kick,
        Call::RemoveSession,
        Call::Drain,
        Call::Reload,
        Call::Read,
    ];

    #[test]
    fn a_remedy_is_one_for_what_was_asked() {
        for call in CALLS {
            let told = remedy(call, BUS_UNAVAILABLE);
            assert_eq!(
                told.contains("event"),
                call == Call::Emit,
                "{call:?}: {told}"
            );
            let told = remedy(call, "DRAINING");
            let is_of_this_node = matches!(call, Call::Drain | Call::Reload);
            assert_eq!(
                !told.contains("another node"),
                is_of_this_node,
                "{call:?}: {told}"
            );
            let changes = call.if_unanswered().contains("carried out");
            assert_eq!(changes, call != Call::Read, "{call:?}");
        }
    }

    #[test]
    fn every_code_that_a_proxy_or_a_caller_can_cause_has_a_remedy() {
        for code in [
            "FORBIDDEN",
            "INVALID_EVENT",
            "INVALID_HOST",
            "INVALID_SESSION_ID",
            "INVALID_USER_ID",
            "NOT_FOUND",
            "OVERLOADED",
            "PAYLOAD_TOO_LARGE",
            "REQUEST_TIMEOUT",
        ] {
            assert!(remedy(Call::Kick, code).starts_with(": "), "{code}");
        }
    }
}
