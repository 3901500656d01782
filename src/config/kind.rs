//! How values of one kind are read from text and from TOML, and how they are shown.

use std::{any::Any, sync::Arc};

use toml::de::{DeInteger, DeValue};

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
    /// Whether empty quotes or brackets are a value; an empty variable never is.
    pub(super) takes_nothing: bool,
    /// Whether no message may quote a value that was refused.
    pub(super) is_secret: bool,
    /// Whether blanks around it are part of it.
    pub(super) keeps_blanks: bool,
}

pub(super) enum Parse<T> {
    One(fn(&str) -> Option<T>),
    /// Takes the parts of a list.
    Many(fn(&[&str]) -> Option<T>),
}

/// How values are written in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Boolean,
    Integer,
    List,
    /// A list, or a single comma-separated text.
    ListOrText,
}

/// A value as its source gives it.
#[derive(Clone, Copy)]
pub(super) enum Value<'v> {
    /// From a variable, a flag, or the table of settings.
    Text(&'v str),
    Toml(&'v DeValue<'v>),
}

/// A value of the type of its setting; shows nothing of a secret.
#[derive(Debug, Clone)]
pub(super) struct Read {
    /// `None`: it could not be read, which is a problem already.
    pub(super) value: Option<Arc<dyn Any + Send + Sync>>,
    /// As a variable would give it, for people.
    pub(super) shown: String,
}

/// Why a value was refused, quoting it unless it is secret, and what to write instead.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) found: String,
    pub(super) remedy: String,
}

impl<T> Kind<T> {
    pub(super) const fn new(
        shape: Shape,
        parse: Parse<T>,
        show: fn(&T) -> String,
        expected: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self {
            shape,
            parse,
            show,
            expected,
            remedy,
            choices: String::new,
            takes_nothing: false,
            is_secret: false,
            keeps_blanks: false,
        }
    }

    /// Returns the default that the table of settings gives.
    pub(super) fn default(&self, text: &str) -> T {
        let value = self.parse(Value::Text(text)).ok().flatten();
        value.expect("a test reads every default of the table")
    }

    /// Reads a value; `None` for a blank one, which counts as not given.
    fn parse(&self, value: Value<'_>) -> Result<Option<T>, Refusal> {
        let parsed = self.parts(value).and_then(|parts| {
            let trim = |part| {
                if self.keeps_blanks {
                    part
                } else {
                    str::trim(part)
                }
            };
            let parts = parts.iter().map(|part| trim(part));
            let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
            if parts.is_empty() && !self.takes(value) {
                return Some(None);
            }
            let parsed = match self.parse {
                Parse::One(parse) => parse(parts.first().unwrap_or(&"")),
                Parse::Many(parse) => parse(&parts),
            };
            parsed.map(Some)
        });
        parsed.ok_or_else(|| {
            let shown = value.shown();
            // An `@` may follow a password.
            let is_secret = self.is_secret || shown.contains('@');
            let shown = if is_secret { "what is given" } else { &shown };
            Refusal {
                found: format!("{shown} is not {}", self.expected),
                remedy: format!("{}{}", self.remedy, (self.choices)()),
            }
        })
    }

    /// Whether a value with nothing in it is one.
    fn takes(&self, nothing: Value<'_>) -> bool {
        let is_blank = matches!(nothing, Value::Text(text) if text.is_empty() || !self.is_list());
        self.takes_nothing && !is_blank
    }

    /// Returns the parts of a list, or else the single value; `None` for another shape.
    fn parts(&self, value: Value<'_>) -> Option<Vec<String>> {
        let split = |text: &str| text.split(',').map(|part| part.trim().to_owned()).collect();
        Some(match (value, self.shape) {
            (Value::Text(text), _) if self.is_list() => split(text),
            (Value::Text(text), _) => vec![text.to_owned()],
            (Value::Toml(DeValue::String(text)), Shape::ListOrText) => split(text),
            (Value::Toml(DeValue::String(text)), Shape::Text) => vec![text.to_string()],
            (Value::Toml(DeValue::Boolean(boolean)), Shape::Boolean) => vec![boolean.to_string()],
            (Value::Toml(DeValue::Integer(integer)), Shape::Integer) => {
                vec![number(integer)?.to_string()]
            }
            (Value::Toml(DeValue::Array(items)), _) if self.is_list() => {
                let texts = items.iter().map(|item| item.get_ref().as_str());
                texts
                    .map(|text| text.map(str::to_owned))
                    .collect::<Option<_>>()?
            }
            _ => return None,
        })
    }

    fn is_list(&self) -> bool {
        matches!(self.shape, Shape::List | Shape::ListOrText)
    }
}

impl<T: Send + Sync + 'static> Kind<T> {
    /// Reads a value; `None` for a blank one, which counts as not given.
    pub(super) fn read(&self, value: Value<'_>) -> Result<Option<Read>, Refusal> {
        let value = self.parse(value)?;
        Ok(value.map(|value| Read {
            shown: (self.show)(&value),
            value: Some(Arc::new(value)),
        }))
    }
}

impl Value<'_> {
    /// How messages name it.
    fn shown(&self) -> String {
        let quoted = |text: &str| {
            let short: String = text.chars().take(64).collect();
            let mark = if short.len() < text.len() { "…" } else { "" };
            format!("{short:?}{mark}")
        };
        match self {
            Self::Text(text) => quoted(text),
            Self::Toml(value) => match value {
                DeValue::String(text) => quoted(text),
                DeValue::Boolean(boolean) => boolean.to_string(),
                DeValue::Integer(integer) => {
                    number(integer).map_or_else(|| integer.to_string(), |n| n.to_string())
                }
                DeValue::Float(float) => float.to_string(),
                DeValue::Datetime(datetime) => datetime.to_string(),
                DeValue::Array(_) => "this list".to_owned(),
                DeValue::Table(_) => "a section".to_owned(),
            },
        }
    }
}

fn number(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
