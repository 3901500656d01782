//! The `.env` file, in the dialect of Node's `dotenv`, for which existing files were written.
//!
//! `$` and `\` stand for themselves, spaces and quotes may be inside a value, and a line that assigns
//! nothing is skipped. A reader that substitutes variables or knows more escapes would read a
//! different secret from the same file.

use std::sync::LazyLock;

use regex::Regex;

/// One assignment.
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: String,
    /// Where it begins, counted from 1.
    pub(super) line: usize,
}

/// The expression by which `dotenv` itself finds assignments
/// (<https://github.com/motdotla/dotenv/blob/v16.4.5/lib/main.js>).
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| {
    let quoted = r#"\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`(?:\\`|[^`])*`"#;
    let name = r"^\s*(?:export\s+)?([A-Za-z0-9_.-]+)(?:\s*=\s*?|:\s+?)";
    let line = format!(r"(?m){name}({quoted}|[^#\n]+)?\s*(?:#.*)?$");
    Regex::new(&line).expect("a regular expression")
});

/// Returns all assignments in order; the last one of a name counts.
pub(super) fn parse(text: &str) -> Vec<Assignment> {
    let text = text.trim_start_matches('\u{feff}');
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let assignments = ASSIGNMENT.captures_iter(&text).map(|found| {
        let value = found.get(2).map_or("", |value| value.as_str().trim());
        let unquoted = ['\'', '"', '`'].iter().find_map(|quote| {
            let inner = value.strip_prefix(*quote)?;
            inner.strip_suffix(*quote)
        });
        let inner = unquoted.unwrap_or(value);
        Assignment {
            name: found[1].to_owned(),
            value: if value.starts_with('"') {
                inner.replace("\\n", "\n").replace("\\r", "\r")
            } else {
                inner.to_owned()
            },
            line: text[..found.get(1).map_or(0, |name| name.start())]
                .matches('\n')
                .count()
                + 1,
        }
    });
    assignments.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let pair = |assignment: Assignment| (assignment.name, assignment.value);
        parse(text).into_iter().map(pair).collect()
    }

    /// What the npm package `dotenv` makes of the same text.
    #[test]
    fn values_are_those_that_node_reads() {
        for (text, value) in [
            ("A=b", "b"),
            ("A = b # c", "b"),
            ("export A=b", "b"),
            ("  A: b", "b"),
            ("A=", ""),
            ("A=''", ""),
            ("A=ab$cd${E}", "ab$cd${E}"),
            ("A=a b  c", "a b  c"),
            (r"A=a\d\n", r"a\d\n"),
            (r#"A="a\nb$c""#, "a\nb$c"),
            (r"A='a\nb'", r"a\nb"),
            ("A=`a'b\"c`", "a'b\"c"),
            ("A=\"a\nb\"", "a\nb"),
            ("A=a#b", "a"),
            ("A='a#b' # c", "a#b"),
            ("A='a' b", "'a' b"),
            (r"A='a\'", r"a\"),
            (r"A='a\'b'", r"a\'b"),
            ("A=it's", "it's"),
            ("\u{feff}A=b", "b"),
            ("A=a=b==", "a=b=="),
            ("A= 'x' ", "x"),
        ] {
            assert_eq!(read(text), [("A".to_owned(), value.to_owned())], "{text:?}");
        }
    }

    #[test]
    fn lines_that_assign_nothing_are_passed_over() {
        let pairs = |text| {
            let named = |(name, value)| format!("{name}={value}");
            read(text).into_iter().map(named).collect::<Vec<_>>()
        };
        assert_eq!(pairs("no assignment\n=b\nA:b\n# A=b\nA=c"), ["A=c"]);
        assert_eq!(pairs("A=\"not closed\nB=c"), ["A=\"not closed", "B=c"]);
        assert_eq!(pairs("A=\nB=c\rC=d\r\nD=e"), ["A=", "B=c", "C=d", "D=e"]);
    }

    #[test]
    fn lines_are_counted_over_values_that_span_them() {
        let lines: Vec<_> = parse("\nA='1\n2\n3'\nB=4").iter().map(|a| a.line).collect();
        assert_eq!(lines, [2, 5]);
    }
}
