//! The `auth` object of a CONNECT, of which only the token matters.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{List, Unreadable};
use crate::{
    auth::{MAX_TOKEN, strip_bearer, trim},
    secret::Secret,
};

/// The part of a CONNECT's `auth` that sockd uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Auth {
    /// `None` if it is missing, not a text, or blank.
    pub(in crate::gateway) token: Option<Token>,
}

/// A token as it was sent, without `Bearer`.
#[derive(Debug)]
pub(in crate::gateway) struct Token(pub(in crate::gateway) Secret);

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.matches(other.0.expose())
    }
}

impl Eq for Token {}

impl Token {
    /// `None` for a blank text. A text that is too long for any token is cut, and stays too long.
    pub(in crate::gateway) fn new(text: &str) -> Option<Self> {
        if trim(text).is_empty() {
            return None;
        }
        let token = strip_bearer(text);
        let end = token.floor_char_boundary(2 * MAX_TOKEN);
        Some(Self(Secret::new(token[..end].to_owned())))
    }
}

/// Reads the object that a CONNECT carries.
pub(super) fn read_auth(json: &str) -> Result<Auth, Unreadable> {
    let TokenMember(token) = serde_json::from_str(json).map_err(|_| Unreadable)?;
    let token = token.and_then(|token| match token.get().as_bytes()[0] {
        b'[' => serde_json::from_str::<List<'_>>(token.get()).ok()?.0,
        _ => Some(token),
    });
    let token = token.filter(|token| token.get().starts_with('"'));
    let token = token.and_then(|token| {
        // JavaScript reads half a surrogate pair; such a token is invalid.
        let text = serde_json::from_str::<Cow<'_, str>>(token.get());
        Token::new(&text.unwrap_or(Cow::Borrowed("\u{fffd}")))
    });
    Ok(Auth { token })
}

/// The last member `token` of an object. Keys and values are taken as they are written, so that
/// nothing but syntax is judged, as in JavaScript: not surrogates, the size of numbers, or depth.
struct TokenMember<'a>(Option<&'a RawValue>);

impl<'de> Deserialize<'de> for TokenMember<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = TokenMember<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut token = None;
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    let key = serde_json::from_str::<Cow<'_, str>>(key.get());
                    if key.is_ok_and(|key| key == "token") {
                        token = Some(value);
                    }
                }
                Ok(TokenMember(token))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(json: &str) -> Option<String> {
        let auth = read_auth(json).expect("an object");
        auth.token.map(|token| token.0.expose().to_owned())
    }

    #[test]
    fn only_the_token_of_an_auth_object_matters() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(token(r#"{"token":"a"}"#), some("a"));
        assert_eq!(token(r#"{"token":["b","c"]}"#), some("b"));
        assert_eq!(token(r#"{"token":"a","token":"b"}"#), some("b"));
        assert_eq!(token(r#" { "tok\u0065n" : "a\u0062" } "#), some("ab"));
        for beside in [
            r#""name":"Ann\ud83d""#.to_owned(),
            r#""\ud83d":1"#.to_owned(),
            r#""n":1e400"#.to_owned(),
            r#""n":1,"n":2"#.to_owned(),
            format!(r#""deep":{}{}"#, "[".repeat(100_000), "]".repeat(100_000)),
        ] {
            assert_eq!(token(&format!(r#"{{{beside},"token":"a"}}"#)), some("a"));
            assert_eq!(token(&format!(r#"{{"token":"a",{beside}}}"#)), some("a"));
        }
        assert_eq!(token(r#"{"token":"a\ud83d"}"#), some("\u{fffd}"));
        let blanks = " ".repeat(3 * MAX_TOKEN);
        let padded = format!(r#"{{"token":"{blanks}bearer{blanks}a.b.c{blanks}"}}"#);
        assert!(token(&padded) == some("a.b.c"));
        assert_eq!(token(r#"{"token":" Bearer "}"#), some("Bearer"));
        let endless = format!(r#"{{"token":"{}"}}"#, "\u{20ac}".repeat(MAX_TOKEN));
        let cut = token(&endless).expect("a token").len();
        assert!((MAX_TOKEN + 1..=2 * MAX_TOKEN).contains(&cut), "{cut}");
        for blank in [
            "{}",
            r#"{"token":" "}"#,
            r#"{"token":1}"#,
            r#"{"token":[[]]}"#,
        ] {
            assert_eq!(token(blank), None, "{blank}");
        }
    }
}
