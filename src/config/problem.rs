//! What is wrong or odd in a configuration, all of it at once.

use std::{
    error::Error,
    fmt::{self, Display},
};

/// Something wrong or odd, and what to do about it; never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, behind the place in its source: `sockd.toml:3:1: server.port`.
    pub place: String,
    pub found: String,
    pub remedy: String,
}

/// Everything that is wrong with a configuration, one problem a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problem {
    pub fn new(place: impl Display, found: impl Display, remedy: impl Display) -> Self {
        let [place, found, remedy] =
            [&place as &dyn Display, &found, &remedy].map(|part| part.to_string());
        Self {
            place,
            found,
            remedy,
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

impl Error for Problems {}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            found,
            remedy,
        } = self;
        write!(f, "{place}: {found}; {remedy}")
    }
}

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
