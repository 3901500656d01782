//! Identifiers of users, sessions, events and nodes, parsed once, at the edge.

mod format;

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::format::{Charset, IdFormat, IdFormats};

/// The longest identifier of any kind, in bytes; it bounds keys, channels and log lines.
pub const MAX_LENGTH: usize = 256;

/// Hashes identifiers the same way in every process, so that iteration over maps is reproducible.
/// Floods of collisions are no risk: identifiers come in signed tokens, or from backends that know
/// the secret.
pub type IdHasher = BuildHasherDefault<DefaultHasher>;

/// A map by identifier.
pub type IdMap<K, V> = HashMap<K, V, IdHasher>;

/// A text that is not a valid identifier of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} {text:?} is not {expected}")]
pub struct InvalidId {
    kind: &'static str,
    text: String,
    expected: String,
}

impl InvalidId {
    fn new(kind: &'static str, text: &str, expected: impl Into<String>) -> Self {
        let text = text.chars().take(64).collect();
        Self {
            kind,
            text,
            expected: expected.into(),
        }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text as it was given; its spelling is never changed.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidId;

            /// # Errors
            /// An empty text, one over [`MAX_LENGTH`] bytes, or one with a control character.
            fn try_from(text: &str) -> Result<Self, InvalidId> {
                if text.is_empty() || text.len() > MAX_LENGTH || text.chars().any(char::is_control) {
                    let expected = format!("1 to {MAX_LENGTH} bytes without control characters");
                    return Err(InvalidId::new($kind, text, expected));
                }
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::try_from(text.as_str())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A user, as the backend and the token name it.
    UserId,
    "user id"
);
id!(
    /// A login of a user: the `session_id` of a token.
    SessionId,
    "session id"
);
id!(
    /// The name of an event that a backend pushes.
    EventName,
    "event"
);
id!(
    /// A running sockd process among those on one Redis.
    NodeId,
    "node id"
);

/// The events that a backend may push: exact names, and `prefix:*` for all names that begin with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedEvents(Vec<EventName>);

impl SupportedEvents {
    /// Accepts names and patterns; a `*` is allowed only at the end of `prefix:*`.
    ///
    /// # Errors
    /// A `*` anywhere else, or a text that is no event name.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidId> {
        let parse = |pattern: &str| {
            let stem = pattern.strip_suffix(":*").unwrap_or(pattern);
            if stem.is_empty() || stem.contains('*') {
                return Err(InvalidId::new(
                    "event",
                    pattern,
                    "a name, or prefix:* for all names that begin with it",
                ));
            }
            EventName::try_from(pattern)
        };
        patterns
            .into_iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The names and patterns in their order.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(EventName::as_str)
    }

    /// Parses the name of a supported event, and returns the position of the first name or pattern
    /// that matches; `None` for every other text.
    pub fn parse(&self, text: &str) -> Option<(EventName, usize)> {
        let covers = |pattern: &str| match pattern.strip_suffix('*') {
            Some(prefix) => text.len() > prefix.len() && text.starts_with(prefix),
            None => pattern == text,
        };
        let position = self.patterns().position(covers)?;
        Some((EventName::try_from(text).ok()?, position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_only_longer_names_with_its_prefix() {
        let events = SupportedEvents::new(["auth:logout", "order:*"]).unwrap();
        assert!(events.parse("auth:logout").is_some());
        assert!(events.parse("order:paid").is_some());
        let pattern_of = |name| events.patterns().nth(events.parse(name)?.1);
        assert_eq!(pattern_of("order:paid"), Some("order:*"));
        assert_eq!(pattern_of("auth:logout"), Some("auth:logout"));
        for text in ["order:", "order", "auth:login", "", "*"] {
            assert!(events.parse(text).is_none(), "{text:?}");
        }
        assert!(SupportedEvents::new(["a*b"]).is_err());
        assert!(SupportedEvents::new(["*"]).is_err());
    }
}
