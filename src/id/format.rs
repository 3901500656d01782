//! The formats of identifiers.

use std::fmt;

use super::{InvalidId, SessionId, UserId};

/// The format of identifiers of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdFormat {
    /// 24 hexadecimal digits in any case, as MongoDB makes them.
    ObjectId,
    /// A UUID of the versions 1 to 5 in any case, with its hyphens (RFC 4122).
    Uuid,
    /// 1 to 20 decimal digits.
    Integer,
    /// Any text of a bounded length made of the allowed characters.
    Any { max_length: usize, charset: Charset },
}

impl IdFormat {
    /// Returns a text of this format, derived from random bytes.
    fn generate(&self, bytes: [u8; 32]) -> String {
        match self {
            Self::ObjectId => bytes[..12].iter().map(|b| format!("{b:02x}")).collect(),
            Self::Uuid => {
                let (random, _) = bytes.split_first_chunk().expect("32 bytes hold 16");
                uuid::Builder::from_random_bytes(*random)
                    .into_uuid()
                    .to_string()
            }
            Self::Integer => {
                let (number, _) = bytes.split_first_chunk().expect("32 bytes hold 8");
                u64::from_le_bytes(*number).to_string()
            }
            Self::Any {
                max_length,
                charset,
            } => {
                let pairs = bytes
                    .chunks_exact(2)
                    .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
                pairs
                    .take(*max_length)
                    .map(|n| charset.nth(n.into()))
                    .collect()
            }
        }
    }

    /// Returns the id for a JSON number, as JavaScript prints it: `42.0` and `4.2e1` are `42`.
    ///
    /// `None` if ids are not integers, for fractions and negative numbers, and from 2^53 on, where
    /// JavaScript would round to another user's id.
    pub fn of_number(&self, number: &str) -> Option<String> {
        const END_OF_EXACT: f64 = (1_u64 << 53) as f64;
        // Rust also parses `inf` and `nan`, which are not JSON.
        let is_json = number.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let value: f64 = number.parse().ok().filter(|_| is_json)?;
        let is_id =
            *self == Self::Integer && value.fract() == 0.0 && (0.0..END_OF_EXACT).contains(&value);
        is_id.then(|| (value as u64).to_string())
    }

    pub fn admits(&self, text: &str) -> bool {
        match self {
            Self::ObjectId => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
            Self::Uuid => is_uuid(text.as_bytes()),
            Self::Integer => {
                (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
            }
            Self::Any {
                max_length,
                charset,
            } => {
                (1..=*max_length).contains(&text.len()) && text.chars().all(|c| charset.contains(c))
            }
        }
    }
}

impl fmt::Display for IdFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ObjectId => f.write_str("an ObjectId of 24 hexadecimal digits"),
            Self::Uuid => f.write_str("a UUID of version 1 to 5"),
            Self::Integer => f.write_str("1 to 20 decimal digits"),
            Self::Any {
                max_length,
                charset,
            } => {
                write!(f, "1 to {max_length} characters of {charset}")
            }
        }
    }
}

/// `^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$` in any case.
fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            14 => matches!(byte, b'1'..=b'5'),
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A set of characters written as in a regular expression's brackets: `a-zA-Z0-9_.-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charset {
    text: String,
    ranges: Vec<(char, char)>,
}

impl Charset {
    /// As the operator wrote it, without brackets.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the character at the index, which wraps around.
    fn nth(&self, at: usize) -> char {
        let chars = || self.ranges.iter().flat_map(|(from, to)| *from..=*to);
        let at = at % chars().count();
        chars().nth(at).expect("a charset is never empty")
    }

    fn contains(&self, c: char) -> bool {
        self.ranges
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&c))
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.text)
    }
}

impl TryFrom<&str> for Charset {
    type Error = InvalidId;

    /// # Errors
    /// An empty set, a range that runs backwards, or one with control characters in it.
    fn try_from(text: &str) -> Result<Self, InvalidId> {
        let invalid = || {
            InvalidId::new(
                "charset",
                text,
                "characters and ranges such as a-zA-Z0-9_.-",
            )
        };
        let chars: Vec<char> = text.chars().collect();
        let mut ranges = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            let from = chars[at];
            let is_range = chars.get(at + 1) == Some(&'-') && at + 2 < chars.len();
            let to = if is_range { chars[at + 2] } else { from };
            if from > to || from.is_control() || to.is_control() {
                return Err(invalid());
            }
            ranges.push((from, to));
            at += if is_range { 3 } else { 1 };
        }
        if ranges.is_empty() {
            return Err(invalid());
        }
        Ok(Self {
            text: text.to_owned(),
            ranges,
        })
    }
}

/// The formats of this installation's users and sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdFormats {
    pub user: IdFormat,
    pub session: IdFormat,
}

impl IdFormats {
    /// Parses a user id; the text is taken as it is, not trimmed.
    ///
    /// # Errors
    /// A text that is not of the configured format.
    pub fn parse_user(&self, text: &str) -> Result<UserId, InvalidId> {
        if !self.user.admits(text) {
            return Err(InvalidId::new("user id", text, self.user.to_string()));
        }
        UserId::try_from(text)
    }

    /// Returns a user id, derived from random bytes.
    ///
    /// # Errors
    /// A format whose texts can be longer than an identifier.
    pub fn generate_user(&self, bytes: [u8; 32]) -> Result<UserId, InvalidId> {
        self.parse_user(&self.user.generate(bytes))
    }

    /// Returns a session id, derived from random bytes.
    ///
    /// # Errors
    /// A format whose texts can be longer than an identifier.
    pub fn generate_session(&self, bytes: [u8; 32]) -> Result<SessionId, InvalidId> {
        self.parse_session(&self.session.generate(bytes))
    }

    /// Parses a session id; the text is taken as it is, not trimmed.
    ///
    /// # Errors
    /// A text that is not of the configured format.
    pub fn parse_session(&self, text: &str) -> Result<SessionId, InvalidId> {
        if !self.session.admits(text) {
            return Err(InvalidId::new("session id", text, self.session.to_string()));
        }
        SessionId::try_from(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats() -> IdFormats {
        IdFormats {
            user: IdFormat::ObjectId,
            session: IdFormat::Uuid,
        }
    }

    #[test]
    fn ids_of_any_case_keep_their_spelling() {
        let user = formats().parse_user("64b7F0c2a1B2c3d4e5f60718").unwrap();
        assert_eq!(user.as_str(), "64b7F0c2a1B2c3d4e5f60718");
        formats()
            .parse_session("3F2504E0-4f89-11d3-9A0C-0305E82C3301")
            .unwrap();
    }

    #[test]
    fn ids_of_another_format_are_refused() {
        for text in [
            "",
            "64b7f0c2a1b2c3d4e5f6071",
            " 64b7f0c2a1b2c3d4e5f60718",
            "64b7f0c2a1b2c3d4e5f6071g",
        ] {
            assert!(formats().parse_user(text).is_err(), "{text:?}");
        }
        for text in [
            "3f2504e0-4f89-61d3-9a0c-0305e82c3301",
            "3f2504e0-4f89-11d3-7a0c-0305e82c3301",
            "3f2504e04f8911d39a0c0305e82c3301",
        ] {
            assert!(formats().parse_session(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn any_is_bounded_by_length_and_charset() {
        let charset = Charset::try_from("a-z0-9_-").unwrap();
        let any = IdFormat::Any {
            max_length: 4,
            charset,
        };
        assert!(any.admits("a-_9"));
        assert!(!any.admits("abcde"));
        assert!(!any.admits("A"));
        assert!(Charset::try_from("z-a").is_err());
    }

    #[test]
    fn a_number_is_the_id_that_javascript_prints() {
        for (number, id) in [
            ("42", "42"),
            ("0", "0"),
            ("-0", "0"),
            ("42.0", "42"),
            ("4.2e1", "42"),
            ("420E-1", "42"),
            ("1e3", "1000"),
            ("9007199254740991", "9007199254740991"),
        ] {
            assert_eq!(IdFormat::Integer.of_number(number), Some(id.to_owned()));
            assert_eq!(IdFormat::Uuid.of_number(number), None);
        }
        for number in [
            "-1",
            "0.5",
            "42.5",
            "1e-1",
            "9007199254740992",
            "9007199254740993",
            "1e21",
            "1e400",
            "inf",
            "NaN",
            "+1",
            "true",
            "null",
            "\"42\"",
            "[42]",
            "",
        ] {
            assert_eq!(IdFormat::Integer.of_number(number), None, "{number}");
        }
    }

    #[test]
    fn generated_ids_have_their_format() {
        let any = |max_length, charset| IdFormat::Any {
            max_length,
            charset: Charset::try_from(charset).unwrap(),
        };
        for format in [
            IdFormat::ObjectId,
            IdFormat::Uuid,
            IdFormat::Integer,
            any(5, "a-c_"),
            any(200, "x"),
            any(64, "\u{10000}-\u{1ffff}"),
        ] {
            for byte in [0, 7, 0x80, 0xff] {
                let text = format.generate([byte; 32]);
                assert!(format.admits(&text), "{format}: {text}");
                assert!(UserId::try_from(text).is_ok(), "{format}");
            }
        }
    }
}
