//! Everything that is wrong with a configuration, reported at once.

use std::fmt;

use thiserror::Error;

/// Everything that is wrong with a configuration, one problem a line; never shows a secret.
#[derive(Debug, Clone, Default, Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems in the order in which they were found: by source, then what is missing.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Returns the value if nothing is wrong.
    pub(super) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() {
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

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// One mistake: where it is, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct Problem {
    text: String,
}

impl Problem {
    /// A mistake at a place in a source.
    pub(super) fn at(place: impl fmt::Display, text: impl fmt::Display) -> Self {
        Self {
            text: format!("{place}: {text}"),
        }
    }
}
