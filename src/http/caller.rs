//! Who calls: a backend or an operator that knows a secret, and never a browser.

use http::{HeaderMap, HeaderName, header};

use super::Context;
use crate::{secret::Secret, wire::ErrorCode};

/// Headers that browsers add and scripts in them cannot remove (Fetch metadata, client hints).
const BROWSER_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-ch-ua"),
];

/// Admits callers that are not browsers and know the secret; called before any body is read.
///
/// # Errors
/// Why the caller is refused.
pub(super) fn check(headers: &HeaderMap, context: &Context) -> Result<(), ErrorCode> {
    let given = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.any(|value| !value.is_empty())
    };
    if BROWSER_HEADERS.iter().any(given) {
        return Err(ErrorCode::Forbidden);
    }
    knows_one_of(&context.current.load().internal, headers)
        .then_some(())
        .ok_or(ErrorCode::Unauthorized)
}

/// Whether the caller sends one of these secrets as its bearer token.
pub(super) fn knows_one_of<'a>(
    secrets: impl IntoIterator<Item = &'a Secret>,
    headers: &HeaderMap,
) -> bool {
    let Some(given) = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| bearer(value.as_bytes()))
    else {
        return false;
    };
    // All are compared, so that the time does not reveal which one matches.
    secrets
        .into_iter()
        .fold(false, |found, secret| found | secret.matches(given))
}

/// The text after `Bearer`, which may be in any case and have blanks around it (RFC 6750).
fn bearer(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let (scheme, secret) = text.split_once([' ', '\t'])?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(secret.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_found_behind_any_spelling_of_the_scheme() {
        for value in [
            "Bearer s3cret",
            "bearer   s3cret",
            "BEARER\ts3cret ",
            " Bearer s3cret",
        ] {
            assert_eq!(bearer(value.as_bytes()), Some("s3cret"), "{value:?}");
        }
        for value in ["s3cret", "Bearer", "Basic s3cret", "Bearers3cret", ""] {
            assert_eq!(bearer(value.as_bytes()), None, "{value:?}");
        }
    }
}
