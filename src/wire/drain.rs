//! `POST /internal/drain`: moving a share of a node's connections to other nodes.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest time that closing connections may be spread over.
pub const LONGEST_SPREAD: Duration = Duration::from_secs(86_400);

/// A part of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share(f64);

/// A number that is not a share.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{0} is not a share; choose from 0 to 1, such as 0.3")]
pub struct InvalidShare(String);

impl Share {
    pub const ALL: Self = Self(1.0);

    /// This share of a count, rounded to the nearest whole number.
    pub fn of(self, count: usize) -> usize {
        (self.0 * count as f64).round() as usize
    }
}

impl TryFrom<f64> for Share {
    type Error = InvalidShare;

    fn try_from(number: f64) -> Result<Self, InvalidShare> {
        if (0.0..=1.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(InvalidShare(number.to_string()))
        }
    }
}

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, InvalidShare> {
        let number: f64 = text.parse().map_err(|_| InvalidShare(text.to_owned()))?;
        Self::try_from(number)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The body of `POST /internal/drain`, as our own client sends it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainRequest {
    pub share: Share,
    pub over_seconds: f64,
}

/// The answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainAnswer {
    pub ok: bool,
    /// The number of open connections of the node.
    pub connections: usize,
    /// The number of those that are closed from now on.
    pub closing: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_from_0_to_1() {
        for text in ["0", "0.3", "1", "1e-3", ".5"] {
            assert!(text.parse::<Share>().is_ok(), "{text}");
        }
        for text in ["", "-0.1", "1.1", "30%", "30", "NaN", "inf", "0,3"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_of_a_count_is_the_nearest_whole() {
        let share = |number: f64| Share::try_from(number).unwrap();
        for (number, count, expected) in [
            (0.3, 10, 3),
            (0.07, 100, 7),
            (0.3, 1, 0),
            (0.5, 1, 1),
            (0.0, 10, 0),
            (1.0, 7, 7),
            (1.0, 0, 0),
        ] {
            assert_eq!(share(number).of(count), expected, "{number} of {count}");
        }
    }
}
