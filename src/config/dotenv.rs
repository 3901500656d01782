//! The `.env` file, in the dialect of Node's `dotenv`, for which existing files were written.
//!
//! `$` and `\` stand for themselves, spaces and quotes may be inside a value, and a line that assigns
//! nothing is skipped. A reader that substitutes variables or knows more escapes would read a
//! different secret from the same file.

/// One assignment.
#[derive(PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: String,
    /// Where it begins, counted from 1.
    pub(super) line: usize,
}

/// Returns all assignments in order; the last one of a name counts.
pub(super) fn parse(text: &str) -> Vec<Assignment> {
    let text = text
        .trim_start_matches('\u{feff}')
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let mut assignments = Vec::new();
    let (mut rest, mut line) = (text.as_str(), 1);
    while !rest.is_empty() {
        let (assignment, used) = next(rest);
        assignments.extend(assignment.map(|(name, value)| Assignment { name, value, line }));
        line += rest[..used].matches('\n').count();
        rest = &rest[used..];
    }
    assignments
}

/// Reads one line, or several that a quoted value spans; also returns the length in bytes.
fn next(text: &str) -> (Option<(String, String)>, usize) {
    let line_end = text.find('\n').map_or(text.len(), |at| at + 1);
    let Some((name, after_name)) = assigned_name(&text[..line_end]) else {
        return (None, line_end);
    };
    let value_at = line_end - after_name.len();
    let value_text = &text[value_at..];
    if let Some((value, length)) = quoted(value_text) {
        let rest = &value_text[length..];
        let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let tail = rest[..end].trim();
        if tail.is_empty() || tail.starts_with('#') {
            return (Some((name, value)), value_at + length + end);
        }
    }
    let value = after_name.split('#').next().unwrap_or_default().trim();
    let unquoted = ['\'', '"', '`']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    let value = unquoted.unwrap_or(value).to_owned();
    (Some((name, value)), line_end)
}

/// Returns the name, after an optional `export`, and what follows its `=` or `: `.
fn assigned_name(line: &str) -> Option<(String, &str)> {
    let line = line.trim_start();
    let unexported = line
        .strip_prefix("export")
        .filter(|rest| rest.starts_with([' ', '\t']));
    let line = unexported.map_or(line, str::trim_start);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let end = line.find(|c| !is_name(c)).filter(|end| *end > 0)?;
    let (name, rest) = line.split_at(end);
    let assigned = rest.trim_start_matches([' ', '\t']).strip_prefix('=');
    let value = assigned.or_else(|| {
        let rest = rest.strip_prefix(':')?;
        rest.starts_with([' ', '\t']).then_some(rest)
    })?;
    Some((name.to_owned(), value))
}

/// Returns a value in one of three kinds of quotes, and its length in bytes. Only double quotes have
/// escapes, `\n` and `\r`.
fn quoted(text: &str) -> Option<(String, usize)> {
    let inner = text.trim_start();
    let quote = inner
        .chars()
        .next()
        .filter(|c| matches!(c, '\'' | '"' | '`'))?;
    let start = text.len() - inner.len() + 1;
    let inner = &text[start..];
    let closes = |(at, _): &(usize, &str)| !inner[..*at].ends_with('\\');
    let (length, _) = inner.match_indices(quote).find(closes)?;
    let value = &inner[..length];
    let value = if quote == '"' {
        value.replace("\\n", "\n").replace("\\r", "\r")
    } else {
        value.to_owned()
    };
    Some((value, start + length + 1))
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
