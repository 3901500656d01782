//! Headers that are lists.

use http::{HeaderMap, HeaderName};

/// Whether the list has this token, in upper or lower case.
pub fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let mut found = list(headers, name);
    found.any(|found| found.eq_ignore_ascii_case(token.as_bytes()))
}

/// The members of a list, of all its header lines together (RFC 9110, 5.3).
pub fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.map(<[u8]>::trim_ascii)
}
