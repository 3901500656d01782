//! A published key set: which keys it has, and which of them verifies a token.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::{
    auth::key::{VerifyingKey, jwk::SkipReason},
    config::Algorithm,
    wire::Members,
};

/// The most keys that are read from a set; an issuer has two or three.
const MAX_KEYS: usize = 100;
/// How many keys are tried for a token that does not say which one it is.
const MAX_TRIES: usize = 16;
/// How much of a `kid` is shown, in characters.
const MAX_SHOWN: usize = 64;

/// The usable keys of one document.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: Vec<Skipped>,
}

struct Key {
    kid: Option<String>,
    key: VerifyingKey,
}

/// A key that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its `kid`, or its place in the set.
    name: String,
    reason: SkipReason,
}

/// A document that is not a usable key set.
#[derive(Debug, Error)]
pub enum SetError {
    #[error("not a JSON Web Key Set, {{\"keys\": [...]}}: {0}")]
    NotASet(serde_json::Error),
    #[error("it has no keys")]
    Empty,
    #[error("none of its keys can be used: {}", list(.0))]
    NoneUsable(Vec<Skipped>),
}

/// Why no key of the set verifies a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum Mismatch {
    /// The set does not have the key; a newer set may.
    UnknownKey,
    /// The key that the token names cannot be used with its algorithm.
    Algorithm,
    /// The token is not signed with the key that it names.
    Signature,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// Reads a document, and skips keys that must not verify tokens.
    ///
    /// # Errors
    /// It is not a key set, or has no usable key.
    pub fn parse(document: &[u8]) -> Result<Self, SetError> {
        let Document { keys } = serde_json::from_slice(document).map_err(SetError::NotASet)?;
        if keys.is_empty() {
            return Err(SetError::Empty);
        }
        let mut set = Self::default();
        for (index, raw) in keys.into_iter().enumerate() {
            let members = Members::parse(raw.get()).unwrap_or_default();
            let kid = members.text("kid");
            let key = match index {
                0..MAX_KEYS => VerifyingKey::from_jwk(raw),
                _ => Err(SkipReason::TooMany(MAX_KEYS)),
            };
            match key {
                Ok(key) => set.keys.push(Key {
                    kid: kid.map(Into::into),
                    key,
                }),
                Err(reason) => {
                    let name = kid.map_or_else(|| format!("key {}", index + 1), |kid| shown(&kid));
                    set.skipped.push(Skipped { name, reason });
                    if index == MAX_KEYS {
                        break;
                    }
                }
            }
        }
        if set.keys.is_empty() {
            return Err(SetError::NoneUsable(set.skipped));
        }
        Ok(set)
    }

    /// Returns the number of usable keys, which is at least 1.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Whether a key verifies one of the algorithms.
    pub fn has_any_of(&self, algorithms: &[String]) -> bool {
        let algorithms = algorithms.iter().filter_map(|name| name.parse().ok());
        let mut algorithms = algorithms.into_iter();
        algorithms.any(|algorithm| self.keys.iter().any(|key| key.key.fits(algorithm)))
    }

    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether a key of the set, and of the `kid` if there is one, has signed the message.
    ///
    /// # Errors
    /// Why none has. Several keys may share a `kid`, and a key without one matches any token.
    pub(in crate::auth) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        message: &str,
        signature: &str,
    ) -> Result<(), Mismatch> {
        let mut is_known = false;
        let mut has_fitted = false;
        let mut tries = 0;
        for Key { kid: other, key } in &self.keys {
            let is_named = kid.is_some() && other.as_deref() == kid;
            is_known |= is_named;
            let is_candidate = is_named || kid.is_none() || other.is_none();
            if !is_candidate || !key.fits(algorithm) || tries == MAX_TRIES {
                continue;
            }
            tries += 1;
            has_fitted |= is_named;
            if key.verifies(algorithm, message, signature) {
                return Ok(());
            }
        }
        Err(match (is_known, has_fitted) {
            (false, _) => Mismatch::UnknownKey,
            (true, false) => Mismatch::Algorithm,
            (true, true) => Mismatch::Signature,
        })
    }
}

/// Names the keys and what they verify: `"2026-11" (RS256), key without kid (ES256)`.
impl fmt::Display for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Key { kid, key }) in self.keys.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let name = kid.as_deref().map(shown);
            let name = name.as_deref().unwrap_or("a key without kid");
            match key.algorithms() {
                [only] => write!(f, "{separator}{name} ({only:?})")?,
                several => write!(f, "{separator}{name} ({} algorithms)", several.len())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({self})")
    }
}

/// Lists the skipped keys with their reasons, in one line.
pub fn list(skipped: &[Skipped]) -> String {
    const SHOWN: usize = 5;
    let texts = skipped.iter().take(SHOWN);
    let texts: Vec<_> = texts
        .map(|Skipped { name, reason }| format!("{name}: {reason}"))
        .collect();
    let more = match skipped.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{more}", texts.join("; "))
}

/// A `kid` for messages: quoted, and shortened if it is long.
pub(in crate::auth) fn shown(kid: &str) -> String {
    let short: String = kid.chars().take(MAX_SHOWN).collect();
    let mark = if short.len() < kid.len() { "…" } else { "" };
    format!("{short:?}{mark}")
}

#[cfg(test)]
pub(in crate::auth) mod tests;
