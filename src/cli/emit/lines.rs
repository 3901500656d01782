//! The lines of a batch, read one at a time so that a large file needs no memory.

use std::{
    fmt,
    io::{self, BufRead, Read},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, Unexpected},
};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::id::{EventName, IdFormat, UserId};

/// The longest line, in bytes; no node accepts a payload nearly as long.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// One line of the input, unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1, blank lines included.
    pub(super) number: u64,
    /// Without the line break; empty for a line that was too long to keep.
    pub(super) text: String,
    /// How far into the input the line ends, in bytes.
    pub(super) end: u64,
}

/// The event that a line asks for.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) user: UserId,
    pub(super) name: EventName,
    pub(super) payload: Option<Box<RawValue>>,
}

/// Why a line cannot be sent.
#[derive(Debug, Error)]
pub(super) enum LineError {
    #[error("longer than {MAX_LINE} bytes; it is not kept")]
    TooLong,
    #[error("not UTF-8")]
    NotText,
    #[error("not an event as JSON")]
    NotAnEvent(#[from] serde_json::Error),
}

impl Line {
    pub(super) fn parse(&self) -> Result<Event, LineError> {
        Ok(serde_json::from_str::<Members>(&self.text)?.into())
    }
}

/// Unknown members are errors: a misspelt `payload` would push `null`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Members {
    #[serde(deserialize_with = "user_id")]
    user_id: UserId,
    event: EventName,
    payload: Option<Box<RawValue>>,
}

/// Accepts a string or an integer number; the node checks it against its id format.
fn user_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UserId, D::Error> {
    struct Id;
    impl de::Visitor<'_> for Id {
        type Value = UserId;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a user id")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<UserId, E> {
            UserId::try_from(text).map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<UserId, E> {
            let text = IdFormat::Integer.of_number(&number.to_string());
            match text {
                Some(text) => self.visit_str(&text),
                None => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
            }
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<UserId, E> {
            let text = IdFormat::Integer.of_number(&number.to_string());
            match text {
                Some(text) => self.visit_str(&text),
                None => Err(E::invalid_value(Unexpected::Float(number), &self)),
            }
        }
    }
    deserializer.deserialize_any(Id)
}

impl From<Members> for Event {
    fn from(members: Members) -> Self {
        Self {
            user: members.user_id,
            name: members.event,
            payload: members.payload,
        }
    }
}

/// Splits an input into its lines, and skips blank ones.
pub(super) struct Lines<R> {
    input: R,
    number: u64,
    end: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            number: 0,
            end: 0,
        }
    }

    /// Returns the next line, with the error if it cannot be sent; `None` at the end.
    ///
    /// # Errors
    /// Reading the input failed.
    pub(super) fn next(&mut self) -> io::Result<Option<(Line, Option<LineError>)>> {
        loop {
            let mut bytes = Vec::new();
            let limit = MAX_LINE as u64 + 1;
            let read = (&mut self.input)
                .take(limit)
                .read_until(b'\n', &mut bytes)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.end += read as u64;
            let mut wrong = None;
            if bytes.len() > MAX_LINE && bytes.last() != Some(&b'\n') {
                self.end += self.input.skip_until(b'\n')? as u64;
                bytes.clear();
                wrong = Some(LineError::TooLong);
            }
            let text = String::from_utf8(bytes).unwrap_or_else(|error| {
                wrong = Some(LineError::NotText);
                String::from_utf8_lossy(error.as_bytes()).into_owned()
            });
            let text = if self.number == 1 {
                text.trim_start_matches('\u{feff}')
            } else {
                &text
            };
            let text = text.trim().to_owned();
            if text.is_empty() && wrong.is_none() {
                continue;
            }
            let line = Line {
                number: self.number,
                text,
                end: self.end,
            };
            return Ok(Some((line, wrong)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<(u64, String, bool)> {
        let mut lines = Lines::new(input);
        let next = || lines.next().unwrap();
        std::iter::from_fn(next)
            .map(|(line, wrong)| (line.number, line.text, wrong.is_some()))
            .collect()
    }

    #[test]
    fn blank_lines_count_but_are_skipped() {
        let input = "\u{feff}a\r\n\n  \nb\nc";
        let expected = [(1, "a"), (4, "b"), (5, "c")];
        let expected = expected.map(|(number, text)| (number, text.to_owned(), false));
        assert_eq!(lines(input.as_bytes()), expected);
        assert_eq!(lines(b""), []);
    }

    #[test]
    fn a_line_that_cannot_be_sent_does_not_end_the_batch() {
        let mut input = b"\xff\n".to_vec();
        input.extend(std::iter::repeat_n(b'x', MAX_LINE + 10));
        input.extend_from_slice(b"\nlast\n");
        let expected = [
            (1, "\u{fffd}".to_owned(), true),
            (2, String::new(), true),
            (3, "last".to_owned(), false),
        ];
        assert_eq!(lines(&input), expected);
    }

    #[test]
    fn a_line_parses_as_an_event_or_names_the_error() {
        let parse = |text: &str| {
            let line = Line {
                number: 1,
                text: text.into(),
                end: 0,
            };
            line.parse()
        };
        let event = parse(r#"{"userId":"u","event":"a:b","payload":{"n":9007199254740993}}"#);
        let event = event.unwrap();
        assert_eq!(event.user.as_str(), "u");
        for (number, user) in [
            ("42", Some("42")),
            ("4.2e1", Some("42")),
            ("-1", None),
            ("1e16", None),
        ] {
            let event = parse(&format!(r#"{{"userId":{number},"event":"a"}}"#)).ok();
            assert_eq!(event.as_ref().map(|event| event.user.as_str()), user);
        }
        assert_eq!(event.payload.unwrap().get(), r#"{"n":9007199254740993}"#);
        assert!(
            parse(r#"{"userId":"u","event":"e"}"#)
                .unwrap()
                .payload
                .is_none()
        );
        for (text, reason) in [
            ("{", "EOF"),
            (r#"{"event":"e"}"#, "missing field `userId`"),
            (r#"{"userId":"","event":"e"}"#, "user id"),
            (
                r#"{"userId":"u","event":"e","paylod":1}"#,
                "unknown field `paylod`",
            ),
            (r#"{"userId":true,"event":"e"}"#, "invalid type"),
        ] {
            let error = anyhow::Error::from(parse(text).unwrap_err());
            let error = format!("{error:#}");
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
