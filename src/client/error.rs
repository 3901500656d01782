//! Why a call failed, and what to do about it.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a call failed. The text never contains the secret or a payload.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error(
        "{0:?} is not the address of a node; give one such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock with --url or SOCKD_URL"
    )]
    Url(String),
    #[error(
        "the secret for the internal API cannot be sent in a header; it may contain only visible ASCII characters"
    )]
    Secret,
    #[error(
        "failed to set up the HTTP client; check that the system's CA certificates are installed"
    )]
    Setup(#[source] reqwest::Error),
    #[error(
        "no answer from {url}; start sockd there, or name another node with --url or SOCKD_URL"
    )]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "this user must not connect to {url}; add it to the socket's group (internal.socket_group), or use sudo"
    )]
    NotAllowed {
        url: String,
        #[source]
        source: reqwest::Error,
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
    #[error("{url} received the request but did not answer; it may have been carried out")]
    NoAnswer {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "{0} does not accept the secret; give the one it runs with in INTERNAL_SECRET, the configuration or --secret-file"
    )]
    Unauthorized(String),
    #[error("{url} refuses with {status} {code}{}", remedy(.code))]
    Refused {
        url: String,
        status: u16,
        code: String,
    },
    #[error("{url} keeps its configuration, the new one has mistakes:\n  {}", .problems.join("\n  "))]
    Mistakes { url: String, problems: Vec<String> },
    #[error(
        "{url} has not sent a line of the trace for long; a proxy may hold it back, call the node directly"
    )]
    Silent { url: String },
    #[error("{url} returned {status}, but is not sockd; check that --url names a node")]
    Unintelligible { url: String, status: u16 },
}

impl ClientError {
    /// Whether no answer came, so that other calls will probably fail in the same way.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::NotAllowed { .. }
                | Self::Untrusted { .. }
                | Self::NoAnswer { .. }
        )
    }

    /// Whether it is the answer of a node that accepted the secret.
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
            // A proxy may have lost the answer, or the server may not be sockd.
            Self::Unintelligible { status, .. } => *status < 400 || *status >= 500,
            Self::Url(_)
            | Self::Secret
            | Self::Setup(_)
            | Self::Unreachable { .. }
            | Self::NotAllowed { .. }
            | Self::Untrusted { .. }
            | Self::File { .. }
            | Self::Tls(_)
            | Self::Unauthorized(_)
            | Self::Mistakes { .. }
            | Self::Silent { .. } => false,
        }
    }
}

const BUS_UNAVAILABLE: &str = "BUS_UNAVAILABLE";

/// What to do about a refusal.
fn remedy(code: &str) -> &'static str {
    match code {
        BUS_UNAVAILABLE => {
            ": it could not reach every node, so it is done for its own sockets, but may not be for those of other nodes; do it again when Redis is back, but an event then arrives a second time at its own"
        }
        "DRAINING" => ": it is shutting down; ask another node",
        "FORBIDDEN" => ": a proxy adds browser headers (Sec-Fetch-*); call the node directly",
        "INVALID_CONFIGURATION" => ": its configuration has mistakes; its log lists them",
        "INVALID_EVENT" => ": the event is not supported there; see events.supported",
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
        "PAYLOAD_TOO_LARGE" => ": the payload is too long; see internal.max_body",
        "PEER_TOO_OLD" => {
            ": another node runs a release that cannot do this; upgrade the one that its log names first"
        }
        "REDIS_UNAVAILABLE" => ": it cannot reach Redis; try again when Redis is back",
        "SESSIONS_IN_REDIS" => {
            ": its sessions are in Redis; leave out --url, and set redis.url or REDIS_HOST to the same Redis"
        }
        "TOO_MANY_TRACES" => ": as many traces run there as may; end one, or ask another node",
        _ => "; its log says more",
    }
}
