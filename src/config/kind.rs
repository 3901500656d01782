//! How the values of one kind are read from text and from TOML, and how they are shown.

use std::{any::Any, sync::Arc};

use super::value::Value;

/// How a setting with values of type `T` is read and shown.
pub(super) struct Kind<T> {
    pub(super) shape: Shape,
    pub(super) parse: Parse<T>,
    /// The value as a variable would give it; a secret is redacted.
    pub(super) show: fn(&T) -> String,
    /// Completes "… is not".
    pub(super) expected: &'static str,
    /// What to write instead; `choices` completes it.
    pub(super) remedy: &'static str,
    pub(super) choices: fn() -> String,
    /// Whether nothing in quotes or brackets is a value; an empty variable never is.
    pub(super) takes_nothing: bool,
    /// Whether no message may quote a value that was refused.
    pub(super) is_secret: bool,
    pub(super) trims: bool,
}

pub(super) enum Parse<T> {
    One(fn(&str) -> Option<T>),
    /// Takes the parts of a list.
    Many(fn(&[&str]) -> Option<T>),
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

/// What was read, of the type of its setting; shows nothing of a secret.
#[derive(Debug, Clone)]
pub(super) struct Read {
    /// `None`: it could not be read, which is a problem already.
    pub(super) value: Option<Arc<dyn Any + Send + Sync>>,
    /// For people, as a variable would give it.
    pub(super) shown: String,
}

/// What a value is not, quoting it unless it is secret, and what to write instead.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) found: String,
    pub(super) remedy: String,
}

/// A kind of single values.
pub(super) const fn one<T>(
    shape: Shape,
    parse: fn(&str) -> Option<T>,
    show: fn(&T) -> String,
    expected: &'static str,
    remedy: &'static str,
) -> Kind<T> {
    kind(shape, Parse::One(parse), show, expected, remedy)
}

/// A kind of lists.
pub(super) const fn many<T>(
    shape: Shape,
    parse: fn(&[&str]) -> Option<T>,
    show: fn(&T) -> String,
    expected: &'static str,
    remedy: &'static str,
) -> Kind<T> {
    kind(shape, Parse::Many(parse), show, expected, remedy)
}

const fn kind<T>(
    shape: Shape,
    parse: Parse<T>,
    show: fn(&T) -> String,
    expected: &'static str,
    remedy: &'static str,
) -> Kind<T> {
    Kind {
        shape,
        parse,
        show,
        expected,
        remedy,
        choices: String::new,
        takes_nothing: false,
        is_secret: false,
        trims: true,
    }
}

impl<T: Send + Sync + 'static> Kind<T> {
    /// Reads a value; `None` for a blank one, which counts as not given.
    pub(super) fn read(&self, value: &Value) -> Result<Option<Read>, Refusal> {
        let Some(value) = self.parse(value)? else {
            return Ok(None);
        };
        let shown = (self.show)(&value);
        let value = Some(Arc::new(value) as _);
        Ok(Some(Read { value, shown }))
    }

    /// Returns the default that the table of settings gives.
    pub(super) fn default(&self, text: &str) -> T {
        let value = self.parse(&Value::Text(text.to_owned())).ok().flatten();
        value.expect("a test reads every default of the table")
    }

    fn parse(&self, value: &Value) -> Result<Option<T>, Refusal> {
        let is_list = matches!(self.shape, Shape::List | Shape::ListOrText);
        let number;
        let parts: Option<Vec<&str>> = match (value, self.shape) {
            (Value::Text(text), _) | (Value::TomlText(text), Shape::ListOrText) if is_list => {
                Some(text.split(',').map(str::trim).collect())
            }
            (Value::Text(text), _) | (Value::TomlText(text), Shape::Text) => Some(vec![text]),
            (Value::Boolean(true), Shape::Boolean) => Some(vec!["true"]),
            (Value::Boolean(false), Shape::Boolean) => Some(vec!["false"]),
            (Value::Integer(integer), Shape::Integer) => {
                number = integer.to_string();
                Some(vec![&number])
            }
            (Value::List(texts), _) if is_list => Some(texts.iter().map(String::as_str).collect()),
            _ => None,
        };
        let trim = |text| if self.trims { str::trim(text) } else { text };
        let parts = parts.map(|parts| {
            let parts = parts.into_iter().map(trim).filter(|part| !part.is_empty());
            parts.collect::<Vec<_>>()
        });
        let parts = match parts {
            Some(parts) if parts.is_empty() => match value {
                Value::Text(text) if text.is_empty() || !is_list => return Ok(None),
                _ if !self.takes_nothing => return Ok(None),
                _ if is_list => Some(parts),
                _ => Some(vec![""]),
            },
            parts => parts,
        };
        let read = parts.and_then(|parts| match self.parse {
            Parse::One(parse) => parse(parts.first()?),
            Parse::Many(parse) => parse(&parts),
        });
        read.map(Some).ok_or_else(|| {
            let shown = value.to_string();
            // An `@` may follow a password.
            let is_secret = self.is_secret || shown.contains('@');
            let shown = if is_secret { "what is given" } else { &shown };
            Refusal {
                found: format!("{shown} is not {}", self.expected),
                remedy: format!("{}{}", self.remedy, (self.choices)()),
            }
        })
    }
}
