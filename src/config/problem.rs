//! Everything that is wrong with a configuration, reported at once.

use std::fmt::Display;

use thiserror::Error;

/// Everything that is wrong with a configuration, one problem a line; never shows a secret.
#[derive(Debug, Clone, Default, Error)]
#[error("{}", .0.join("\n"))]
pub struct Problems(Vec<String>);

impl Problems {
    /// The problems in the order in which they were found: by source, then what is missing.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// A single mistake: where it is, and the remedy.
    pub(super) fn one(place: impl Display, text: impl Display) -> Self {
        Self(vec![format!("{place}: {text}")])
    }

    pub(super) fn add(&mut self, place: impl Display, text: impl Display) {
        self.0.push(format!("{place}: {text}"));
    }

    /// Returns the value if nothing is wrong.
    pub(super) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}
