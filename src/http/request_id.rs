//! `X-Request-Id`: one name for a request in its caller's log and in this one.

use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;

const NAME: HeaderName = HeaderName::from_static("x-request-id");
/// Longer than ids in common use, and short enough for a log line.
const LONGEST: usize = 128;

/// Decides the id of a request, which stays in its headers, and returns the span that puts the id
/// before its log lines. A request whose caller gives none gets one only if it `is_logged`: most requests
/// are emits, which are not logged.
pub(super) fn settle(headers: &mut HeaderMap, is_logged: bool) -> Option<Span> {
    let given = headers.get(NAME);
    if given.is_none() && !is_logged {
        return None;
    }
    let id = match given.filter(|id| is_sane(id)) {
        Some(id) => id.clone(),
        None => HeaderValue::try_from(uuid::Uuid::new_v4().to_string()).ok()?,
    };
    // At every level of the log.
    let span = tracing::error_span!("request", id = id.to_str().unwrap_or_default());
    headers.insert(NAME, id);
    Some(span)
}

/// Tells the caller the id of its request, if it has one.
pub(super) fn tell(request: &HeaderMap, response: &mut HeaderMap) {
    if let Some(id) = request.get(NAME) {
        response.insert(NAME, id.clone());
    }
}

/// Whether an id can be written to a log line and a header unchanged.
fn is_sane(id: &HeaderValue) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/@;".contains(byte);
    let id = id.as_bytes();
    (1..=LONGEST).contains(&id.len()) && id.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(given: &[u8], is_logged: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        if !given.is_empty() {
            headers.insert(NAME, HeaderValue::from_bytes(given).unwrap());
        }
        let span = settle(&mut headers, is_logged);
        let mut told = HeaderMap::new();
        tell(&headers, &mut told);
        assert_eq!(span.is_some(), told.contains_key(NAME));
        let id = told.get(NAME)?.to_str().unwrap();
        Some(id.to_owned())
    }

    #[test]
    fn a_sane_id_is_kept_and_another_replaced() {
        let trace = "Root=1-67891233-abcdef012345678912345678;Self=1:2/3";
        for given in ["1", trace, &"x".repeat(LONGEST)] {
            assert_eq!(settled(given.as_bytes(), false).as_deref(), Some(given));
        }
        let long = "x".repeat(LONGEST + 1);
        for given in [&b"a b"[..], b"a\"b", b"\xc3\xa9", b"a\tb", long.as_bytes()] {
            let id = settled(given, false).unwrap();
            assert!(uuid::Uuid::parse_str(&id).is_ok(), "{given:?}: {id}");
        }
    }

    #[test]
    fn without_a_given_one_only_a_request_that_is_logged_has_an_id() {
        assert_eq!(settled(b"", false), None);
        assert!(settled(b"", true).is_some());
    }
}
