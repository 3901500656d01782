//! Fields in the text format of the log: whatever a value holds, it stays on its line and cannot pass for other
//! fields.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

/// Writes `message name=value name="value with blanks"`.
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Visitor {
            writer,
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Visitor<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl Visitor<'_> {
    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        if field.name() == "message" {
            return self.writer.write_fmt(value);
        }
        if self.writer.has_ansi_escapes() {
            // The name in italics, and a dim `=`.
            write!(self.writer, "\x1b[3m{}\x1b[0m\x1b[2m=\x1b[0m", field.name())?;
        } else {
            write!(self.writer, "{}=", field.name())?;
        }
        self.writer.write_fmt(value)
    }
}

impl Visit for Visitor<'_> {
    /// Texts are always in quotes, except for the message.
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.result.is_err() {
            return;
        }
        self.result = if field.name() == "message" {
            self.write(field, format_args!("{}", visible(value)))
        } else {
            self.write(field, format_args!("{value:?}"))
        };
    }

    /// Other values are in quotes if they need to be.
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_err() {
            return;
        }
        let text = format!("{value:?}");
        self.result = if field.name() == "message" {
            self.write(field, format_args!("{}", visible(&text)))
        } else if is_plain(&text) {
            self.write(field, format_args!("{text}"))
        } else {
            self.write(field, format_args!("{text:?}"))
        };
    }
}

/// Whether the text is one word with nothing in it that would be escaped in quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c != ' ' && c.escape_debug().eq([c]))
}

/// The message with its quotes as they are, but on one line and without control sequences.
fn visible(text: &str) -> String {
    let escaped = |c: char| c.is_control() || "\u{2028}\u{2029}".contains(c);
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        if escaped(c) {
            visible.extend(c.escape_debug());
        } else {
            visible.push(c);
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read},
        sync::Mutex,
    };

    use super::*;

    /// What the function logs.
    fn logged(log: impl FnOnce()) -> String {
        let (mut reader, writer) = io::pipe().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(TextFields)
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .with_writer(Mutex::new(writer));
        tracing::subscriber::with_default(subscriber.finish(), log);
        let mut lines = String::new();
        reader.read_to_string(&mut lines).unwrap();
        lines
    }

    #[test]
    fn a_value_is_in_quotes_if_it_could_be_mistaken_for_other_fields() {
        for (value, written) in [
            ("64b7f0c2", "64b7f0c2"),
            ("a=b", "a=b"),
            ("日本", "日本"),
            ("redis://[::1]:6379/0?x", "redis://[::1]:6379/0?x"),
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("\"a\"", r#""\"a\"""#),
            ("a\\", r#""a\\""#),
            ("a\nb", r#""a\nb""#),
            ("\u{1b}[2J", r#""\u{1b}[2J""#),
            ("a\u{a0}b", r#""a\u{a0}b""#),
            ("a\u{2028}b", r#""a\u{2028}b""#),
            ("a\u{202e}b", r#""a\u{202e}b""#),
        ] {
            let line = logged(|| tracing::info!(user = %value, n = 1, "audit"));
            assert_eq!(line, format!(" INFO audit user={written} n=1\n"));
        }
        let line = logged(|| tracing::info!(text = "a", none = None::<u8>, list = ?["a"], "m"));
        assert_eq!(line, " INFO m text=\"a\" list=\"[\\\"a\\\"]\"\n");
    }

    #[test]
    fn a_message_is_one_line_and_keeps_its_quotes() {
        let line = logged(|| tracing::warn!("{}", "file \"x\"\n INFO forged\u{1b}"));
        assert_eq!(line, " WARN file \"x\"\\n INFO forged\\u{1b}\n");
    }

    #[test]
    fn a_line_begins_with_its_span() {
        let line = logged(|| {
            let _span = tracing::info_span!("request", id = %"a b").entered();
            tracing::info!("m");
        });
        assert_eq!(line, " INFO request{id=\"a b\"}: m\n");
    }
}
