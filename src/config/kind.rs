//! A kind of values: how they are read from text and from TOML, and how they are shown.

use std::fmt;

use toml::de::DeValue;

/// How a setting with values of type `T` is read and shown.
pub(super) struct Kind<T> {
    pub(super) shape: Shape,
    pub(super) parse: Parse<T>,
    /// The value as a variable would give it; a secret is redacted.
    pub(super) show: fn(&T) -> String,
    /// Completes "… is not", mostly with a remedy.
    pub(super) expected: &'static str,
    /// The remedy of kinds with bounds.
    pub(super) choices: fn() -> String,
    pub(super) blank: Blank,
    pub(super) quote: Quote,
    pub(super) trims: bool,
}

/// How values stand in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Boolean,
    Integer,
    List,
    /// A list, or a single comma-separated text.
    ListOrText,
}

pub(super) enum Parse<T> {
    One(fn(&str) -> Option<T>),
    List(fn(Vec<String>) -> Option<T>),
}

/// Whether an empty text or list is a value; an empty variable never is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Blank {
    Unset,
    ValueInFile,
    /// In a variable too, written as a comma.
    Value,
}

/// Whether a message may quote a value that was refused.
#[derive(Clone, Copy)]
pub(super) enum Quote {
    Always,
    Never,
    /// An `@` may follow a password.
    WithoutAt,
}

/// A value as its source gives it.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    /// From a variable, a flag, or the table of settings.
    Text(&'a str),
    Toml(&'a DeValue<'a>),
    /// Not a value at all, for this reason.
    Unreadable(&'a str),
}

impl<T> Kind<T> {
    /// A value in one piece, in TOML a text.
    pub(super) const fn text(
        parse: fn(&str) -> Option<T>,
        show: fn(&T) -> String,
        expected: &'static str,
    ) -> Self {
        Self {
            shape: Shape::Text,
            parse: Parse::One(parse),
            show,
            expected,
            choices: String::new,
            blank: Blank::Unset,
            quote: Quote::Always,
            trims: true,
        }
    }

    /// A value of several texts.
    pub(super) const fn list(
        parse: fn(Vec<String>) -> Option<T>,
        show: fn(&T) -> String,
        expected: &'static str,
    ) -> Self {
        Self {
            shape: Shape::List,
            parse: Parse::List(parse),
            ..Self::text(|_| None, show, expected)
        }
    }

    /// Reads a value; `None` for a blank one, which counts as not given.
    ///
    /// # Errors
    /// What the value is not, quoting it unless it is secret.
    pub(super) fn read(&self, input: Input<'_>) -> Result<Option<T>, String> {
        let read = match (input, self.shape, &self.parse) {
            (Input::Text(text), _, _) => return self.read_text(text),
            (Input::Unreadable(reason), _, _) => return Err(reason.to_owned()),
            (Input::Toml(DeValue::String(text)), Shape::Text, Parse::One(parse))
                if text.is_empty() && self.blank == Blank::ValueInFile =>
            {
                parse(text)
            }
            (Input::Toml(DeValue::String(text)), Shape::Text | Shape::ListOrText, _) => {
                return self.read_text(text);
            }
            (Input::Toml(DeValue::Boolean(boolean)), Shape::Boolean, Parse::One(parse)) => {
                parse(if *boolean { "true" } else { "false" })
            }
            (Input::Toml(DeValue::Integer(integer)), Shape::Integer, Parse::One(parse)) => {
                let number = u64::from_str_radix(integer.as_str(), integer.radix());
                number.ok().and_then(|number| parse(&number.to_string()))
            }
            (Input::Toml(DeValue::Array(array)), _, Parse::List(parse)) => {
                let texts: Option<Vec<_>> =
                    array.iter().map(|item| item.get_ref().as_str()).collect();
                let trim = |text| if self.trims { str::trim(text) } else { text };
                match texts.map(|texts| not_empty(texts.into_iter().map(trim))) {
                    Some(texts) if texts.is_empty() && self.blank == Blank::Unset => {
                        return Ok(None);
                    }
                    texts => texts.and_then(parse),
                }
            }
            _ => None,
        };
        read.map(Some).ok_or_else(|| self.refusal(input))
    }

    fn read_text(&self, text: &str) -> Result<Option<T>, String> {
        let trimmed = if self.trims { text.trim() } else { text };
        if trimmed.is_empty() {
            return Ok(None);
        }
        let read = match self.parse {
            Parse::One(parse) => parse(trimmed),
            Parse::List(parse) => match not_empty(trimmed.split(',').map(str::trim)) {
                parts if parts.is_empty() && self.blank != Blank::Value => return Ok(None),
                parts => parse(parts),
            },
        };
        read.map(Some)
            .ok_or_else(|| self.refusal(Input::Text(text)))
    }

    fn refusal(&self, input: Input<'_>) -> String {
        let shown = input.to_string();
        let shown = match self.quote {
            Quote::WithoutAt if !shown.contains('@') => &shown,
            Quote::Always => &shown,
            Quote::Never | Quote::WithoutAt => "what is given",
        };
        format!("{shown} is not {}{}", self.expected, (self.choices)())
    }
}

impl fmt::Display for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unreadable(reason) => f.write_str(reason),
            Self::Text(text) => write_quoted(text, f),
            Self::Toml(DeValue::String(text)) => write_quoted(text, f),
            Self::Toml(DeValue::Integer(integer)) => integer.fmt(f),
            Self::Toml(DeValue::Float(float)) => float.fmt(f),
            Self::Toml(DeValue::Boolean(boolean)) => boolean.fmt(f),
            Self::Toml(DeValue::Datetime(datetime)) => datetime.fmt(f),
            Self::Toml(DeValue::Array(_)) => f.write_str("this list"),
            Self::Toml(DeValue::Table(_)) => f.write_str("a section"),
        }
    }
}

fn write_quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let short: String = text.chars().take(64).collect();
    let mark = if short.len() < text.len() { "…" } else { "" };
    write!(f, "{short:?}{mark}")
}

fn not_empty<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    texts
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect()
}
