//! The kinds of values: how each is read from text and from TOML, and how it is shown.

use std::{any::Any, fmt::Display, net::IpAddr, sync::Arc, time::Duration};

use bytesize::ByteSize;
use clap::ValueEnum;
use ipnet::IpNet;
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{
    jwks,
    listen::{Listen, Mode},
    redis_url::RedisUrl,
    value::Value,
};
use crate::{
    id::{Charset, SupportedEvents},
    secret::Secret,
};

/// How a setting with values of type `T` is read and shown.
pub(super) struct Kind<T> {
    pub(super) shape: Shape,
    /// Takes the parts of a list, or else one text.
    parse: fn(&[&str]) -> Option<T>,
    /// The value as a variable would give it; a secret is redacted.
    show: fn(&T) -> String,
    /// Completes "… is not", mostly with a remedy.
    expected: &'static str,
    /// The remedy of kinds with bounds.
    choices: fn() -> String,
    /// Whether nothing in quotes or brackets is a value; an empty variable never is.
    takes_nothing: bool,
    /// Whether a message may quote a value that was refused.
    is_secret: bool,
    trims: bool,
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

/// What a value is not, quoting it unless it is secret.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct Refusal(String);

const fn kind<T>(
    shape: Shape,
    parse: fn(&[&str]) -> Option<T>,
    show: fn(&T) -> String,
    expected: &'static str,
) -> Kind<T> {
    Kind {
        shape,
        parse,
        show,
        expected,
        choices: String::new,
        takes_nothing: false,
        is_secret: false,
        trims: true,
    }
}

const fn text(is_valid: fn(&[&str]) -> Option<String>, expected: &'static str) -> Kind<String> {
    kind(Shape::Text, is_valid, String::clone, expected)
}

const fn texts(shape: Shape, expected: &'static str) -> Kind<Vec<String>> {
    let owned = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
    kind(shape, owned, |texts| texts.join(","), expected)
}

pub(super) const TEXT: Kind<String> = text(printable, "a text without control characters");
pub(super) const PATH: Kind<String> = text(printable, "a file's path; write it in quotes");
pub(super) const PREFIX: Kind<String> = Kind {
    takes_nothing: true,
    ..TEXT
};
pub(super) const HOST: Kind<String> = text(
    host,
    "an address or a host name; give the port and the like on their own",
);
pub(super) const LISTEN: Kind<Listen> = kind(
    Shape::Text,
    |text| Listen::parse(text.first()?),
    Listen::show,
    "an address to listen on; write for example \"127.0.0.1:3001\", \"[::1]:3001\" or \"unix:/run/sockd/internal.sock\"",
);
pub(super) const MODE: Kind<Mode> = kind(
    Shape::Text,
    |text| Mode::parse(text.first()?),
    Mode::show,
    "permission bits in octal that let the owner read and write; write for example \"0660\", in quotes",
);
pub(super) const LOG_FILTER: Kind<String> = text(
    log_filter,
    "a log filter; write error, warn, info, debug or trace, or for example \"info,sockd=debug\"",
);
pub(super) const PATHS: Kind<Vec<String>> = texts(
    Shape::List,
    "a list of files' paths; write for example [\"old.key\"]",
);
pub(super) const ALGORITHMS: Kind<Vec<String>> = texts(
    Shape::List,
    "a list of texts; write for example [\"HS256\"]",
);
/// The values that a claim may have.
pub(super) const TEXTS: Kind<Vec<String>> = Kind {
    parse: |texts| texts.iter().map(|text| printable(&[text])).collect(),
    ..texts(
        Shape::ListOrText,
        "a text or a list of texts; write for example [\"https://auth.example.com\"]",
    )
};
pub(super) const ORIGINS: Kind<Vec<String>> = Kind {
    parse: origins,
    ..texts(
        Shape::ListOrText,
        "an origin or a list of them; write for example \"https://app.example.com\"",
    )
};
pub(super) const NETWORKS: Kind<Vec<IpNet>> = kind(
    Shape::List,
    |texts| texts.iter().map(|text| network(text)).collect(),
    |networks| {
        let texts: Vec<_> = networks.iter().map(IpNet::to_string).collect();
        texts.join(",")
    },
    "a list of addresses and networks; write for example [\"127.0.0.1\", \"10.0.0.0/8\", \"2001:db8::/32\"]",
);
pub(super) const CHARSET: Kind<Charset> = kind(
    Shape::Text,
    |text| Charset::try_from(*text.first()?).ok(),
    |charset| charset.as_str().to_owned(),
    "characters and ranges; write for example \"a-zA-Z0-9_.-\"",
);
pub(super) const BOOLEAN: Kind<bool> = kind(
    Shape::Boolean,
    |text| text.first()?.parse().ok(),
    bool::to_string,
    "true or false; write one of them, in the file without quotes",
);
pub(super) const EVENTS: Kind<SupportedEvents> = Kind {
    takes_nothing: true,
    ..kind(
        Shape::List,
        |texts| SupportedEvents::new(texts.iter().copied()).ok(),
        |events| events.patterns().collect::<Vec<_>>().join(","),
        "a list of event names; write for example [\"profile:update\", \"order:*\"]",
    )
};
pub(super) const JWKS_URL: Kind<Url> = Kind {
    is_secret: true,
    ..kind(
        Shape::Text,
        |text| jwks::parse_url(text.first()?),
        Url::to_string,
        "the URL of a key set; write https:// without a user or password, such as \
         \"https://auth.example.com/.well-known/jwks.json\"; http:// is accepted only on this machine",
    )
};
pub(super) const REDIS_URL: Kind<RedisUrl> = Kind {
    is_secret: true,
    ..kind(
        Shape::Text,
        |text| RedisUrl::parse(text.first()?),
        RedisUrl::redacted,
        "a Redis URL; write redis://, rediss:// or redis+unix:// such as \"redis://host:6379/0\", \
         with special characters of a password as %XX",
    )
};
pub(super) const SECRET: Kind<Secret> = Kind {
    is_secret: true,
    trims: false,
    ..kind(
        Shape::Text,
        |text| Some(Secret::new((*text.first()?).to_owned())),
        |_| "(redacted)".to_owned(),
        "a text; write it in quotes",
    )
};
pub(super) const SECRETS: Kind<Vec<Secret>> = Kind {
    takes_nothing: true,
    is_secret: true,
    trims: false,
    ..kind(
        Shape::List,
        |texts| {
            Some(
                texts
                    .iter()
                    .map(|text| Secret::new((*text).to_owned()))
                    .collect(),
            )
        },
        |_| "(redacted)".to_owned(),
        "a list of texts; write for example [\"...\"]",
    )
};

/// `host:port` of some nodes, read as `redis://host:port`.
pub(super) const fn nodes<const PORT: u16>() -> Kind<Vec<String>> {
    Kind {
        parse: |texts| {
            texts
                .iter()
                .map(|text| RedisUrl::node(text, PORT))
                .collect()
        },
        choices: || format!("; write for example [\"10.0.0.1:{PORT}\"], and passwords elsewhere"),
        is_secret: true,
        ..texts(Shape::List, "a list of hosts with ports")
    }
}

/// A whole number from `MIN` to `MAX`, both included.
pub(super) const fn number<T: TryFrom<u64> + Display, const MIN: u64, const MAX: u64>() -> Kind<T> {
    Kind {
        choices: || format!("; choose from {MIN} to {MAX}"),
        ..kind(
            Shape::Integer,
            |text| {
                within::<MIN, MAX>(text.first()?.parse().ok()?)?
                    .try_into()
                    .ok()
            },
            T::to_string,
            "a whole number",
        )
    }
}

/// A time from `MIN` to `MAX` milliseconds, both included.
pub(super) const fn duration<const MIN: u64, const MAX: u64>() -> Kind<Duration> {
    Kind {
        choices: || format!("; choose from {} to {}", millis_text(MIN), millis_text(MAX)),
        ..kind(
            Shape::Text,
            |text| {
                let range = Duration::from_millis(MIN)..=Duration::from_millis(MAX);
                let duration = humantime::parse_duration(text.first()?).ok()?;
                range.contains(&duration).then_some(duration)
            },
            |duration| millis_text(duration.as_millis().try_into().unwrap_or(u64::MAX)),
            "a duration with its unit such as \"25s\"",
        )
    }
}

/// A size from `MIN` to `MAX` bytes, both included.
pub(super) const fn size<const MIN: u64, const MAX: u64>() -> Kind<usize> {
    Kind {
        choices: || format!("; choose from {} to {}", bytes_text(MIN), bytes_text(MAX)),
        ..kind(
            Shape::Text,
            |text| {
                // Without a unit, a number of KiB could be taken for one of bytes.
                let has_unit = |text: &&&str| text.ends_with(|c: char| c.is_ascii_alphabetic());
                let size: ByteSize = text.first().filter(has_unit)?.parse().ok()?;
                within::<MIN, MAX>(size.as_u64())?.try_into().ok()
            },
            |size| bytes_text(*size as u64),
            "a size with its unit such as \"64KiB\"",
        )
    }
}

/// One of some words.
pub(super) const fn word<T: ValueEnum>() -> Kind<T> {
    fn name<T: ValueEnum>(value: &T) -> String {
        let word = value.to_possible_value();
        word.map_or_else(String::new, |word| word.get_name().to_owned())
    }
    Kind {
        choices: || {
            let words: Vec<_> = T::value_variants().iter().map(name).collect();
            format!("; write {}", words.join(" or "))
        },
        ..kind(
            Shape::Text,
            |text| T::from_str(text.first()?, false).ok(),
            name,
            "a choice here",
        )
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
        let read = parts.and_then(|parts| (self.parse)(&parts));
        read.map(Some).ok_or_else(|| {
            let shown = value.to_string();
            // An `@` may follow a password.
            let is_secret = self.is_secret || shown.contains('@');
            let shown = if is_secret { "what is given" } else { &shown };
            Refusal(format!(
                "{shown} is not {}{}",
                self.expected,
                (self.choices)()
            ))
        })
    }
}

fn within<const MIN: u64, const MAX: u64>(number: u64) -> Option<u64> {
    (MIN..=MAX).contains(&number).then_some(number)
}

fn printable(text: &[&str]) -> Option<String> {
    let text = *text.first()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn host(text: &[&str]) -> Option<String> {
    let text = *text.first()?;
    is_host(text).then(|| text.to_owned())
}

pub(super) fn is_host(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    text.parse::<IpAddr>().is_ok() || text.bytes().all(is_part)
}

/// An address, or a network whose address has no bits behind its prefix: otherwise, one of both is
/// probably a mistake.
fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical().into());
    }
    let network: IpNet = text.parse().ok()?;
    (network.trunc() == network).then_some(network)
}

fn origins(texts: &[&str]) -> Option<Vec<String>> {
    let is_origin = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    let origin = |text: &&str| is_origin(text).then(|| (*text).to_owned());
    texts.iter().map(origin).collect()
}

/// `EnvFilter` takes any word for the name of a module, so a misspelt level would silence all.
fn log_filter(text: &[&str]) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let text = *text.first()?;
    let is_word = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_level = |part: &str| LEVELS.iter().any(|level| part.eq_ignore_ascii_case(level));
    let mut parts = text.split(',').map(str::trim);
    let is_misspelt = parts.any(|part| is_word(part) && !is_level(part));
    (!is_misspelt && EnvFilter::try_new(text).is_ok()).then(|| text.to_owned())
}

fn millis_text(millis: u64) -> String {
    let [second, minute, hour] = [1_000, 60_000, 3_600_000];
    let units = [(24 * hour, "d"), (hour, "h"), (minute, "m"), (second, "s")];
    exact(millis, &units, "ms")
}

fn bytes_text(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    exact(bytes, &units, "B")
}

/// Writes the number exactly, in the largest unit that divides it.
fn exact(number: u64, units: &[(u64, &str)], smallest: &str) -> String {
    let divides = |(unit, _): &&(u64, &str)| number > 0 && number.is_multiple_of(*unit);
    let (unit, name) = units.iter().find(divides).copied().unwrap_or((1, smallest));
    format!("{}{name}", number / unit)
}
