//! The `.env` file, in the dialect of Node's `dotenv`, as the files that are there were written for it.
//!
//! `$` and `\` are taken as they are, blanks and quotes may stand inside a value, and a line that
//! assigns nothing is passed over. A reader that substitutes variables or knows more escapes would
//! take another secret from the same file.

/// One assignment.
#[derive(PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: String,
    /// Where it begins, counted from 1.
    pub(super) line: usize,
}

/// All assignments in order; of one name the last counts.
pub(super) fn parse(text: &str) -> Vec<Assignment> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
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

/// Reads one line, or more where a quoted value spans them, and says how many bytes that took.
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
    (Some((name, value.to_owned())), line_end)
}

/// The name, after an optional `export`, and what follows its `=` or `: `.
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

/// A value in one of three kinds of quotes and how many bytes it takes; only the double ones know
/// escapes, and those only `\n` and `\r`.
fn quoted(text: &str) -> Option<(String, usize)> {
    let inner = text.trim_start();
    let quote = inner
        .chars()
        .next()
        .filter(|c| matches!(c, '\'' | '"' | '`'))?;
    let start = text.len() - inner.len() + 1;
    let mut was_backslash = false;
    let closes = |(_, c): &(usize, char)| {
        let closes = *c == quote && !was_backslash;
        was_backslash = *c == '\\' && !was_backslash;
        closes
    };
    let (length, _) = text[start..].char_indices().find(closes)?;
    let value = &text[start..start + length];
    let value = if quote == '"' {
        value.replace("\\n", "\n").replace("\\r", "\r")
    } else {
        value.to_owned()
    };
    Some((value, start + length + 1))
}
