//! Why clients are logged out.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The `reason` of an `auth:logout` or `auth:expired`: 1 to 64 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogoutReason(Cow<'static, str>);

/// A text that is no reason for a logout.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("reason {0:?} is not 1 to {max} printable ASCII characters", max = LogoutReason::MAX_LENGTH)]
pub struct InvalidReason(String);

impl LogoutReason {
    /// Enough for a code or a short sentence. Each of a user's sockets is sent its own copy.
    pub const MAX_LENGTH: usize = 64;
    /// Another session of the user has become the active one.
    pub const SESSION_REPLACED: Self = Self(Cow::Borrowed("SESSION_REPLACED"));
    /// A backend or an operator has kicked the user without giving a reason.
    pub const KICKED: Self = Self(Cow::Borrowed("KICKED"));
    /// The client's token has expired.
    pub const TOKEN_EXPIRED: Self = Self(Cow::Borrowed("TOKEN_EXPIRED"));

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The payload of the event.
    pub fn payload(&self) -> String {
        let reason = serde_json::Value::from(self.as_str());
        format!(r#"{{"reason":{reason}}}"#)
    }
}

impl TryFrom<String> for LogoutReason {
    type Error = InvalidReason;

    fn try_from(text: String) -> Result<Self, InvalidReason> {
        let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if (1..=Self::MAX_LENGTH).contains(&text.len()) && is_printable {
            return Ok(Self(text.into()));
        }
        Err(InvalidReason(text.chars().take(64).collect()))
    }
}

impl From<LogoutReason> for String {
    fn from(reason: LogoutReason) -> Self {
        reason.0.into_owned()
    }
}

impl fmt::Display for LogoutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_printable() {
        let longest = "x".repeat(64);
        for text in ["A", " ", "BANNED: see \"terms\" \\ mail us~", &longest] {
            let reason = LogoutReason::try_from(text.to_owned()).unwrap();
            let payload: serde_json::Value = serde_json::from_str(&reason.payload()).unwrap();
            assert_eq!(payload, serde_json::json!({ "reason": text }));
        }
        let too_long = "x".repeat(65);
        for text in ["", "a\nb", "\u{7f}", "\u{e9}", "\0", &too_long] {
            assert!(LogoutReason::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        assert_eq!(LogoutReason::KICKED.payload(), r#"{"reason":"KICKED"}"#);
    }
}
