//! The compact form of a token (RFC 7515, section 3.1), as clients send it.

use base64::{
    Engine, alphabet,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD,
    },
};

use super::TokenError;

/// The longest token that is read, in bytes; it bounds the work that a stranger can cause.
pub const MAX_TOKEN: usize = 64 * 1024;

/// A token's parts as they were sent.
pub(super) struct Parts<'a> {
    pub(super) header: &'a str,
    pub(super) payload: &'a str,
    /// Header and payload, which are signed.
    pub(super) message: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn of(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if [header, payload].iter().any(|part| part.is_empty())
            || ![header, payload, signature].into_iter().all(is_base64url)
        {
            return Err(TokenError::Malformed);
        }
        if signature.is_empty() {
            return Err(TokenError::Unsigned);
        }
        Ok(Self {
            header,
            payload,
            message,
            signature,
        })
    }
}

/// Trims a text, and removes `Bearer` in any case and the blanks after it; a `Bearer` without a token stays.
pub fn strip_bearer(raw: &str) -> &str {
    const SCHEME: &str = "bearer";
    let text = trim(raw);
    match text.split_at_checked(SCHEME.len()) {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case(SCHEME) && rest.starts_with(is_blank) =>
        {
            rest.trim_start_matches(is_blank)
        }
        _ => text,
    }
}

/// Trims as JavaScript's `trim` does.
pub fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Whether `\s` and `trim` in JavaScript treat the character as blank (ECMA-262, WhiteSpace and LineTerminator).
pub fn is_blank(c: char) -> bool {
    const NEXT_LINE: char = '\u{85}';
    const BYTE_ORDER_MARK: char = '\u{feff}';
    (c.is_whitespace() && c != NEXT_LINE) || c == BYTE_ORDER_MARK
}

pub(super) fn base64_encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes as Node does: bits that fill no byte are dropped.
pub(super) fn base64_lenient(text: &str) -> Option<Vec<u8>> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireNone),
    );
    let text = if text.len() % 4 == 1 {
        &text[..text.len() - 1]
    } else {
        text
    };
    ENGINE.decode(text).ok()
}

fn is_base64url(part: &str) -> bool {
    part.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
