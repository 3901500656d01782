//! What leaves the process: HTTP bodies, reasons for refused handshakes, messages on the bus.

mod address;
mod bus;
mod drain;
mod event;
mod logout;
mod report;
mod status;
mod trace;

pub use self::{
    address::{is_loopback, unix_path},
    bus::{
        BUS_VERSION, Build, DecodeError, Inquiry, NodeMessage, OwnEvents, Publication, Sequence,
        UserMessage,
    },
    drain::{DrainAnswer, DrainRequest, InvalidShare, LONGEST_SPREAD, Share},
    event::{Event, Frame},
    logout::{InvalidReason, LogoutReason},
    report::{
        Answered, AskedNode, SessionReport, SocketReport, SocketRow, SocketsReport, UserAnswer,
    },
    status::{Figures, LimitStatus, NodeStatus, RedisStatus, StatusAnswer, StatusRow, Totals},
    trace::{Step, TraceLease, beginning},
};

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::label::labels;

/// Sent to a client before it is disconnected because its session was replaced or its user kicked.
pub const EVENT_LOGOUT: &str = "auth:logout";
/// Sent to a client before it is disconnected because its token has expired.
pub const EVENT_EXPIRED: &str = "auth:expired";

/// The stable code of every error that an HTTP caller can get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    BusUnavailable,
    Draining,
    Forbidden,
    InternalError,
    InvalidConfiguration,
    InvalidEvent,
    InvalidHost,
    InvalidInvalidateSession,
    InvalidJson,
    InvalidOverSeconds,
    InvalidReason,
    InvalidSessionId,
    InvalidShare,
    InvalidUserId,
    LocalOnly,
    NotFound,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    PeerTooOld,
    RedisUnavailable,
    RequestTimeout,
    SessionsInRedis,
    TooManyTraces,
    Unauthorized,
    UnsupportedEncoding,
}

impl ErrorCode {
    /// The HTTP status of an answer with this code.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidEvent
            | Self::InvalidHost
            | Self::InvalidInvalidateSession
            | Self::InvalidJson
            | Self::InvalidOverSeconds
            | Self::InvalidReason
            | Self::InvalidSessionId
            | Self::InvalidShare
            | Self::InvalidUserId => 400,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::LocalOnly => 403,
            Self::NotFound => 404,
            Self::RequestTimeout => 408,
            Self::SessionsInRedis => 409,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedEncoding => 415,
            Self::InvalidConfiguration => 422,
            Self::InternalError => 500,
            Self::BusUnavailable
            | Self::Draining
            | Self::NotReady
            | Self::PeerTooOld
            | Self::Overloaded
            | Self::RedisUnavailable
            | Self::TooManyTraces => 503,
        }
    }
}

/// The body of every error answer: `{"ok":false,"error":"CODE"}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    pub ok: bool,
    pub error: ErrorCode,
}

impl From<ErrorCode> for ErrorBody {
    fn from(error: ErrorCode) -> Self {
        Self { ok: false, error }
    }
}

labels! {
    /// Why a handshake is refused: the `message` of Socket.IO's CONNECT_ERROR packet.
    pub enum HandshakeError {
        TokenMissing => "TOKEN_MISSING",
        TokenInvalid => "TOKEN_INVALID",
        SessionMismatch => "SESSION_MISMATCH",
        AuthUnavailable => "AUTH_UNAVAILABLE",
        TooManySockets => "TOO_MANY_SOCKETS",
    }
}

/// The body of `POST /internal/emit`, as our own client sends it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmitRequest<'a> {
    pub user_id: &'a str,
    pub event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<&'a RawValue>,
}

/// The body of `POST /internal/force-logout`, as our own client sends it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForceLogoutRequest<'a> {
    pub user_id: &'a str,
    pub session_id: &'a str,
}

/// The body of `POST /internal/kick`, as our own client sends it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KickRequest<'a> {
    pub user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a LogoutReason>,
    pub invalidate_session: bool,
}

/// The answer to an emit; all but `ok` only for a caller that prefers a representation (RFC 7240).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmitAnswer {
    pub ok: bool,
    /// Whether any node has the user; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// The number of nodes that have the user; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<usize>,
}

/// The answer to a reload; all but `ok` only for a caller that prefers a representation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadAnswer {
    pub ok: bool,
    /// The settings that have new values now.
    pub changed: Vec<String>,
    /// The settings whose new values take effect only after a restart.
    pub needs_restart: Vec<String>,
    /// Settings that work, but probably not as intended.
    pub warnings: Vec<String>,
}

/// The answer to a reload of a configuration with mistakes, for a caller that prefers a representation.
#[derive(Debug, Serialize)]
pub struct ReloadProblems {
    #[serde(flatten)]
    pub error: ErrorBody,
    pub problems: Vec<String>,
}

/// The answer to a force-logout or a kick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutAnswer {
    pub ok: bool,
    /// The number of sockets that were closed, on all nodes.
    pub disconnected: u64,
    /// The number of nodes that have the user; only for a caller that prefers a representation
    /// (RFC 7240).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<usize>,
}

/// The answer to the removal of a user's stored session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRemovedAnswer {
    pub ok: bool,
    /// Whether there was one.
    pub removed: bool,
}

/// One active session, as `sockd sessions ls` and `GET /internal/sessions` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRow {
    pub user_id: String,
    /// The active session; `None` if sockd does not understand the stored value.
    pub session_id: Option<String>,
    /// Whole seconds until the session expires; `None` if it never does.
    pub expires_in_seconds: Option<u64>,
    /// The number of nodes that subscribe to the user's channel.
    pub online: usize,
}

/// The answer to `GET /internal/sessions?user=…&after=…&limit=…`, ordered by user.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionsAnswer {
    pub ok: bool,
    pub sessions: Vec<SessionRow>,
}

/// The members of a JSON object as raw text; of duplicate keys, the last counts. A key with half a
/// surrogate pair is valid JSON, but no text, so its member cannot be asked for.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(Text<'a>, &'a RawValue)>);

/// A JSON string, borrowed from its text if nothing in it is escaped.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Members<'a> {
    /// # Errors
    /// Text that is not JSON, or whose top level is neither an object nor a list. As in the
    /// TypeScript server, a list counts as an object without members.
    pub fn parse(json: &'a str) -> Result<Self, serde_json::Error> {
        if json.trim_ascii_start().starts_with('[') {
            serde_json::from_str::<serde::de::IgnoredAny>(json)?;
            return Ok(Self::default());
        }
        serde_json::from_str(json)
    }

    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        let mut members = self.0.iter().rev();
        members
            .find(|(known, _)| known.0 == key)
            .map(|(_, value)| *value)
    }

    /// Returns a member if it is a string.
    pub fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        let text: Text<'a> = serde_json::from_str(self.get(key)?.get()).ok()?;
        Some(text.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, _>()? {
                    let key = serde_json::from_str(key.get());
                    members.extend(key.ok().map(|key| (key, value)));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_as_lenient_as_the_typescript_server() {
        let members = Members::parse(r#"{"a":1,"\u0061":2,"x":{"y":[]}}"#).unwrap();
        assert_eq!(members.get("a").unwrap().get(), "2");
        // Half a surrogate pair is no text, but it is JSON.
        let members = Members::parse(r#"{"\ud83d":1,"a":"\udc00","b":2}"#).unwrap();
        assert_eq!(members.get("b").unwrap().get(), "2");
        assert_eq!(members.text("a"), None);
        assert!(Members::parse("[1,2]").unwrap().0.is_empty());
        for text in ["1", "\"a\"", "null", "true", "", "  ", "{", "[1"] {
            assert!(Members::parse(text).is_err(), "{text:?}");
        }
        let deep = format!("{{\"payload\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        let payload = Members::parse(&deep).unwrap().get("payload").unwrap();
        assert_eq!(payload.get().len(), 10_000);
    }

    #[test]
    fn a_string_is_copied_only_if_it_has_escapes() {
        let members = Members::parse(r#"{"plain":"a","escaped":"\n","number":1}"#).unwrap();
        assert!(matches!(members.text("plain"), Some(Cow::Borrowed("a"))));
        assert!(matches!(members.text("escaped"), Some(Cow::Owned(text)) if text == "\n"));
        assert_eq!(members.text("number"), None);
    }
}
