//! What a setting may hold, and how it is read from text and from TOML.

use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;
use tracing_subscriber::EnvFilter;

use super::redis_url::RedisUrl;
use crate::{
    id::{Charset, SupportedEvents},
    secret::Secret,
};

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Text that the file may give as `""`.
    Prefix,
    Claim,
    Host,
    Charset,
    LogFilter,
    Boolean,
    Number {
        min: u64,
        max: u64,
    },
    Duration {
        min: Duration,
        max: Duration,
    },
    Size {
        min: u64,
        max: u64,
    },
    OneOf(&'static [&'static str]),
    List,
    Events,
    /// A list that the file may also give as one comma-separated text.
    Origins,
    Path,
    RedisUrl,
    /// A list of `host:port`, which becomes one of `redis://host:port`.
    Nodes {
        port: u16,
    },
    Secret,
    SecretFile,
    Secrets,
    SecretFiles,
}

/// What was read, in the shape that its kind asks for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Boolean(bool),
    Number(u64),
    Duration(Duration),
    Size(usize),
    List(Vec<String>),
    RedisUrl(RedisUrl),
    Secret(Secret),
    Secrets(Vec<Secret>),
    /// Given, but a problem; stands in so that it is not called missing too.
    Invalid,
}

/// A whole number between two, both included.
pub(super) const fn number(min: u64, max: u64) -> Kind {
    Kind::Number { min, max }
}

/// A time between two, both included.
pub(super) const fn duration(min: Duration, max: Duration) -> Kind {
    Kind::Duration { min, max }
}

/// A size in bytes between two, both included.
pub(super) const fn size(min: u64, max: u64) -> Kind {
    Kind::Size { min, max }
}

impl Kind {
    /// Reads a variable, a flag or a default; `None` for a blank, which counts as not given.
    ///
    /// # Errors
    /// What the text is not, with the text unless it is secret.
    pub(super) fn read_text(self, text: &str) -> Result<Option<Value>, String> {
        let trimmed = if matches!(self, Self::Secret) {
            text
        } else {
            text.trim()
        };
        if trimmed.is_empty() {
            return Ok(None);
        }
        let value = match self {
            Self::Number { .. } => self.number(trimmed.parse().ok()),
            kind if kind.is_list() => {
                let parts = trimmed.split(',').map(str::trim);
                kind.list(parts.filter(|part| !part.is_empty()).map(str::to_owned))
            }
            kind => kind.scalar(trimmed),
        };
        match value {
            // A list of nothing but commas.
            Some(Value::List(list)) if list.is_empty() => Ok(None),
            Some(value) => Ok(Some(value)),
            None => Err(self.refusal(&quoted(text))),
        }
    }

    /// Reads a value of the file; `None` for a blank, which counts as not given.
    ///
    /// # Errors
    /// What the value is not, with the value unless it is secret.
    pub(super) fn read_toml(self, value: &DeValue<'_>) -> Result<Option<Value>, String> {
        let read = match (self, value) {
            (Self::Boolean, DeValue::Boolean(boolean)) => Some(Value::Boolean(*boolean)),
            (Self::Number { .. }, DeValue::Integer(integer)) => {
                self.number(u64::from_str_radix(integer.as_str(), integer.radix()).ok())
            }
            (kind, DeValue::Array(array)) if kind.is_list() => {
                let texts: Option<Vec<_>> = array
                    .iter()
                    .map(|item| item.get_ref().as_str().map(str::to_owned))
                    .collect();
                let read = texts.and_then(|texts| kind.list(texts.into_iter()));
                match read {
                    Some(Value::List(list)) if list.is_empty() && kind.blank_is_unset() => {
                        return Ok(None);
                    }
                    read => read,
                }
            }
            (Self::Prefix, DeValue::String(text)) if text.is_empty() => {
                Some(Value::Text(String::new()))
            }
            (kind, DeValue::String(text)) if kind.is_textual() => return kind.read_text(text),
            _ => None,
        };
        read.map(Some).ok_or_else(|| self.refusal(&shown(value)))
    }

    /// Whether values must never be shown; a URL may carry a password.
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Secrets)
    }

    fn is_list(self) -> bool {
        matches!(
            self,
            Self::List
                | Self::Events
                | Self::Origins
                | Self::Nodes { .. }
                | Self::Secrets
                | Self::SecretFiles
        )
    }

    /// An empty list of events allows none; any other empty list says nothing.
    fn blank_is_unset(self) -> bool {
        !matches!(self, Self::Events)
    }

    fn is_textual(self) -> bool {
        let has_own_type = matches!(self, Self::Boolean | Self::Number { .. });
        matches!(self, Self::Origins) || !(self.is_list() || has_own_type)
    }

    fn number(self, number: Option<u64>) -> Option<Value> {
        let Self::Number { min, max } = self else {
            return None;
        };
        number
            .filter(|number| (min..=max).contains(number))
            .map(Value::Number)
    }

    fn list(self, texts: impl Iterator<Item = String>) -> Option<Value> {
        if matches!(self, Self::Secrets) {
            let texts = texts.filter(|text| !text.is_empty());
            return Some(Value::Secrets(texts.map(Secret::new).collect()));
        }
        let trimmed = texts.map(|text| text.trim().to_owned());
        let list: Vec<String> = trimmed.filter(|text| !text.is_empty()).collect();
        if let Self::Nodes { port } = self {
            let nodes = list.iter().map(|text| RedisUrl::node(text, port));
            return nodes.collect::<Option<_>>().map(Value::List);
        }
        let is_valid = match self {
            Self::Events => SupportedEvents::new(list.iter().map(String::as_str)).is_ok(),
            Self::Origins => list
                .iter()
                .all(|text| text.bytes().all(|b| b.is_ascii_graphic())),
            _ => true,
        };
        is_valid.then_some(Value::List(list))
    }

    fn scalar(self, text: &str) -> Option<Value> {
        let as_text = |is_valid: bool| is_valid.then(|| Value::Text(text.to_owned()));
        match self {
            Self::Duration { min, max } => humantime::parse_duration(text)
                .ok()
                .filter(|duration| (min..=max).contains(duration))
                .map(Value::Duration),
            Self::Size { min, max } => {
                // A unit is asked for, so that no one takes a number of bytes for one of KiB.
                let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
                let size = text.parse::<ByteSize>().ok().filter(|_| has_unit)?.as_u64();
                let size = Some(size).filter(|size| (min..=max).contains(size))?;
                usize::try_from(size).ok().map(Value::Size)
            }
            Self::Boolean => text.parse().ok().map(Value::Boolean),
            Self::OneOf(choices) => as_text(choices.contains(&text)),
            Self::Charset => as_text(Charset::try_from(text).is_ok()),
            Self::Host => as_text(is_host(text)),
            Self::LogFilter => as_text(is_log_filter(text)),
            Self::RedisUrl => RedisUrl::parse(text).map(Value::RedisUrl),
            Self::Secret => Some(Value::Secret(Secret::new(text.to_owned()))),
            _ => as_text(!text.chars().any(char::is_control)),
        }
    }

    fn refusal(self, shown: &str) -> String {
        let shown = match self {
            Self::RedisUrl | Self::Nodes { .. } => "what is given",
            // Someone may put a URL with a password here.
            Self::Host if shown.contains('@') => "what is given",
            kind if kind.is_secret() => "what is given",
            _ => shown,
        };
        format!("{shown} is not {}", self.expected())
    }

    fn expected(self) -> String {
        match self {
            Self::Text | Self::Claim | Self::Prefix => {
                "a text without control characters".to_owned()
            }
            Self::Host => "an address or a host name; give the port and the like on their own".into(),
            Self::Charset => "characters and ranges; write for example \"a-zA-Z0-9_.-\"".to_owned(),
            Self::LogFilter => {
                "a log filter; write error, warn, info, debug or trace, or for example \"info,sockd=debug\"".into()
            }
            Self::Boolean => "true or false; write one of them, in the file without quotes".into(),
            Self::Number { min, max } => format!("a whole number; choose from {min} to {max}"),
            Self::Duration { min, max } => {
                let (min, max) = (duration_text(min), duration_text(max));
                format!("a duration with its unit such as \"25s\"; choose from {min} to {max}")
            }
            Self::Size { min, max } => {
                let (min, max) = (size_text(min), size_text(max));
                format!("a size with its unit such as \"64KiB\"; choose from {min} to {max}")
            }
            Self::OneOf(choices) => format!("a choice here; write {}", choices.join(" or ")),
            Self::List => "a list of texts; write for example [\"HS256\"]".to_owned(),
            Self::Events => {
                "a list of event names; write for example [\"profile:update\", \"order:*\"]".into()
            }
            Self::Origins => {
                "an origin or a list of them; write for example \"https://app.example.com\"".into()
            }
            Self::Path | Self::SecretFile => "a file's path; write it in quotes".to_owned(),
            Self::SecretFiles => "a list of files' paths; write for example [\"old.key\"]".into(),
            Self::RedisUrl => {
                "a Redis URL; write redis://, rediss:// or redis+unix:// such as \"redis://host:6379/0\", \
                 with special characters of a password as %XX"
                    .into()
            }
            Self::Nodes { port } => {
                format!("a list of hosts with ports; write for example [\"10.0.0.1:{port}\"], and passwords elsewhere")
            }
            Self::Secret => "a text; write it in quotes".to_owned(),
            Self::Secrets => "a list of texts; write for example [\"...\"]".to_owned(),
        }
    }
}

fn is_host(text: &str) -> bool {
    let is_ip = text.parse::<std::net::IpAddr>().is_ok();
    is_ip
        || text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// `EnvFilter` takes any word for the name of a module, so a misspelt level would silence all.
fn is_log_filter(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_word = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_level = |part: &str| LEVELS.iter().any(|level| part.eq_ignore_ascii_case(level));
    let misspelt = |part: &str| is_word(part) && !is_level(part);
    !text.split(',').map(str::trim).any(misspelt) && EnvFilter::try_new(text).is_ok()
}

/// Exact, in the greatest unit that divides it.
fn duration_text(duration: Duration) -> String {
    const UNITS: [(u128, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let millis = duration.as_millis();
    let unit = UNITS
        .iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    unit.map_or_else(
        || format!("{millis}ms"),
        |(unit, name)| format!("{}{name}", millis / unit),
    )
}

/// Exact, in the greatest unit that divides it.
fn size_text(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS
        .iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(
        || format!("{bytes}B"),
        |(unit, name)| format!("{}{name}", bytes / unit),
    )
}

fn quoted(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    let mark = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{mark}")
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(_) => "this list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

impl Value {
    /// As a variable would be written; a secret, and the password in a URL, is not shown.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Boolean(boolean) => boolean.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Duration(duration) => duration_text(*duration),
            Self::Size(size) => size_text(*size as u64),
            Self::List(list) => list.join(","),
            Self::RedisUrl(url) => url.redacted(),
            Self::Secret(_) | Self::Secrets(_) => "(redacted)".to_owned(),
            Self::Invalid => "(invalid)".to_owned(),
        }
    }
}
