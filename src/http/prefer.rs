//! What a caller prefers in a response: the header `Prefer` (RFC 7240).

use http::{HeaderMap, HeaderName};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Returns the value of the preference, unquoted, if it is given; empty for one without a value. If it
/// is given more than once, the first counts.
pub(super) fn preference(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(PREFER).into_iter();
    let mut preferences = lines.flat_map(|line| preferences(line.as_bytes()));
    let found = preferences.find(|(given, _)| given.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
}

/// Each preference of a line with its value; parameters behind it are left out.
fn preferences(line: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    split(line, b',')
        .into_iter()
        .map(|element| {
            let preference = split(element, b';').swap_remove(0);
            let (name, value) = match preference.iter().position(|byte| *byte == b'=') {
                Some(at) => (&preference[..at], &preference[at + 1..]),
                None => (preference, &[][..]),
            };
            (name.trim_ascii().to_owned(), unquoted(value.trim_ascii()))
        })
        .collect()
}

/// The parts between separators outside quotes; at least one.
fn split(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(|byte| {
        let is_literal = is_escaped;
        is_escaped = is_quoted && !is_literal && *byte == b'\\';
        if *byte == b'"' && !is_literal {
            is_quoted = !is_quoted;
        }
        *byte == separator && !is_quoted
    })
    .collect()
}

/// A token unchanged, or the text of a quoted string.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(quoted) = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return value.to_owned();
    };
    let mut is_escaped = false;
    let text = quoted.iter().filter(|byte| {
        is_escaped = !is_escaped && **byte == b'\\';
        !is_escaped
    });
    text.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(lines: &[&str]) -> Option<String> {
        let lines = lines.iter().map(|line| line.parse().unwrap());
        let headers = lines.map(|line| (PREFER, line));
        preference(&headers.collect(), "return")
    }

    #[test]
    fn a_preference_is_found_in_every_spelling() {
        for lines in [
            &["return=representation"][..],
            &["Return=representation"],
            &["return = representation"],
            &["return\t=\trepresentation ; foo=bar"],
            &["return=\"representation\""],
            &["return=\"repre\\sentation\""],
            &["respond-async, return=representation, wait=10"],
            &[", ,return=representation,"],
            &["return=representation;a=\"x,y;z\"; b"],
            &["respond-async", "wait=1", "return=representation"],
            &["return=representation, return=minimal"],
            &["foo=\"a\\\", return=minimal\", return=representation"],
        ] {
            assert_eq!(value(lines).as_deref(), Some("representation"), "{lines:?}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_another_preference() {
        for (lines, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["foo=\"a, return=representation\""], None),
            (&["foo; return=representation"], None),
            (&["returns=representation"], None),
            (&["return=minimal, return=representation"], Some("minimal")),
            (
                &["return=minimal", "return=representation"],
                Some("minimal"),
            ),
            (&["return"], Some("")),
            (&["return=\"\""], Some("")),
            (&["return=\"representation"], Some("\"representation")),
        ] {
            assert_eq!(value(lines).as_deref(), expected, "{lines:?}");
        }
    }
}
