//! Mistakes and warnings in a configuration, all of them at once.

use std::fmt::Display;

use thiserror::Error;

/// A mistake or a warning, and the remedy; never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {found}; {remedy}")]
pub struct Problem {
    /// The place in the source, then the setting: `sockd.toml:3:1: server.port`.
    pub place: String,
    pub found: String,
    pub remedy: String,
}

/// All mistakes in a configuration, one per line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Error)]
#[error("{}", lines(.0))]
pub struct Problems(Vec<Problem>);

impl Problem {
    pub fn new(place: impl Display, found: impl Display, remedy: impl Display) -> Self {
        Self {
            place: place.to_string(),
            found: found.to_string(),
            remedy: remedy.to_string(),
        }
    }
}

impl Problems {
    /// The problems in the order in which they were found: by source, then what is missing.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    pub(super) fn add(&mut self, place: impl Display, found: impl Display, remedy: impl Display) {
        self.0.push(Problem::new(place, found, remedy));
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

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}
