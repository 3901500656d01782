//! A value before its setting reads it.

use std::fmt::{self, Display};

use toml::de::DeValue;

/// A value as its source gives it.
pub(super) enum Value {
    /// From a variable, a flag, or the table of settings.
    Text(String),
    TomlText(String),
    Boolean(bool),
    Integer(u64),
    List(Vec<String>),
    /// What no setting takes, as messages name it.
    Other(String),
}

impl From<&DeValue<'_>> for Value {
    fn from(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::TomlText(text.to_string()),
            DeValue::Boolean(boolean) => Self::Boolean(*boolean),
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix())
                .map_or_else(|_| Self::Other(integer.to_string()), Self::Integer),
            DeValue::Array(items) => {
                let texts = items.iter().map(|item| item.get_ref().as_str());
                let texts: Option<_> = texts.map(|text| text.map(str::to_owned)).collect();
                texts.map_or_else(|| Self::Other("this list".to_owned()), Self::List)
            }
            DeValue::Float(float) => Self::Other(float.to_string()),
            DeValue::Datetime(datetime) => Self::Other(datetime.to_string()),
            DeValue::Table(_) => Self::Other("a section".to_owned()),
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::TomlText(text) => {
                let short: String = text.chars().take(64).collect();
                let mark = if short.len() < text.len() { "…" } else { "" };
                write!(f, "{short:?}{mark}")
            }
            Self::Boolean(boolean) => boolean.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::List(_) => f.write_str("this list"),
            Self::Other(shown) => f.write_str(shown),
        }
    }
}
