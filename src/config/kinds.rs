//! The kinds that the table of settings uses.

use std::{fmt::Display, net::IpAddr, time::Duration};

use bytesize::ByteSize;
use tracing_subscriber::EnvFilter;

use super::{
    kind::{Blank, Kind, Quote, Shape},
    redis_url::RedisUrl,
};
use crate::{
    id::{Charset, SupportedEvents},
    secret::Secret,
};

const fn text(parse: fn(&str) -> Option<String>, expected: &'static str) -> Kind<String> {
    Kind::text(parse, String::clone, expected)
}

const fn texts(
    parse: fn(Vec<String>) -> Option<Vec<String>>,
    expected: &'static str,
) -> Kind<Vec<String>> {
    Kind::list(parse, |texts| texts.join(","), expected)
}

pub(super) const TEXT: Kind<String> = text(printable, "a text without control characters");
pub(super) const PREFIX: Kind<String> = Kind {
    blank: Blank::ValueInFile,
    ..TEXT
};
pub(super) const PATH: Kind<String> = text(printable, "a file's path; write it in quotes");
pub(super) const PATHS: Kind<Vec<String>> = texts(
    Some,
    "a list of files' paths; write for example [\"old.key\"]",
);
pub(super) const ALGORITHMS: Kind<Vec<String>> =
    texts(Some, "a list of texts; write for example [\"HS256\"]");

pub(super) const HOST: Kind<String> = Kind {
    quote: Quote::WithoutAt,
    ..text(
        host,
        "an address or a host name; give the port and the like on their own",
    )
};

pub(super) const LOG_FILTER: Kind<String> = text(
    log_filter,
    "a log filter; write error, warn, info, debug or trace, or for example \"info,sockd=debug\"",
);

pub(super) const ORIGINS: Kind<Vec<String>> = Kind {
    shape: Shape::ListOrText,
    ..texts(
        origins,
        "an origin or a list of them; write for example \"https://app.example.com\"",
    )
};

pub(super) const CHARSET: Kind<Charset> = Kind::text(
    |text| Charset::try_from(text).ok(),
    |charset| charset.as_str().to_owned(),
    "characters and ranges; write for example \"a-zA-Z0-9_.-\"",
);

pub(super) const BOOLEAN: Kind<bool> = Kind {
    shape: Shape::Boolean,
    ..Kind::text(
        |text| text.parse().ok(),
        bool::to_string,
        "true or false; write one of them, in the file without quotes",
    )
};

/// An empty list in the file allows no event.
pub(super) const EVENTS: Kind<SupportedEvents> = Kind {
    blank: Blank::ValueInFile,
    ..Kind::list(
        |texts| SupportedEvents::new(texts.iter().map(String::as_str)).ok(),
        |events| events.patterns().collect::<Vec<_>>().join(","),
        "a list of event names; write for example [\"profile:update\", \"order:*\"]",
    )
};

pub(super) const REDIS_URL: Kind<RedisUrl> = Kind {
    quote: Quote::Never,
    ..Kind::text(
        RedisUrl::parse,
        RedisUrl::redacted,
        "a Redis URL; write redis://, rediss:// or redis+unix:// such as \"redis://host:6379/0\", \
         with special characters of a password as %XX",
    )
};

pub(super) const SECRET: Kind<Secret> = Kind {
    quote: Quote::Never,
    trims: false,
    ..Kind::text(
        |text| Some(Secret::new(text.to_owned())),
        redacted,
        "a text; write it in quotes",
    )
};

pub(super) const SECRETS: Kind<Vec<Secret>> = Kind {
    blank: Blank::Value,
    quote: Quote::Never,
    trims: false,
    ..Kind::list(
        |texts| Some(texts.into_iter().map(Secret::new).collect()),
        redacted,
        "a list of texts; write for example [\"...\"]",
    )
};

/// `host:port` of some nodes, read as `redis://host:port`.
pub(super) const fn nodes<const PORT: u16>() -> Kind<Vec<String>> {
    Kind {
        quote: Quote::Never,
        choices: || format!("; write for example [\"10.0.0.1:{PORT}\"], and passwords elsewhere"),
        ..texts(nodes_with::<PORT>, "a list of hosts with ports")
    }
}

/// A whole number from `MIN` to `MAX`, both included.
pub(super) const fn number<T, const MIN: u64, const MAX: u64>() -> Kind<T>
where
    T: TryFrom<u64> + Display,
{
    Kind {
        shape: Shape::Integer,
        choices: || format!("; choose from {MIN} to {MAX}"),
        ..Kind::text(
            |text| within::<MIN, MAX>(text.parse().ok()?)?.try_into().ok(),
            T::to_string,
            "a whole number",
        )
    }
}

/// A time from `MIN` to `MAX` milliseconds, both included.
pub(super) const fn duration<const MIN: u64, const MAX: u64>() -> Kind<Duration> {
    Kind {
        choices: || format!("; choose from {} to {}", millis_text(MIN), millis_text(MAX)),
        ..Kind::text(
            |text| {
                let range = Duration::from_millis(MIN)..=Duration::from_millis(MAX);
                let duration = humantime::parse_duration(text).ok()?;
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
        ..Kind::text(
            |text| {
                // Without a unit, a number of KiB could be taken for one of bytes.
                let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
                let size = text.parse::<ByteSize>().ok().filter(|_| has_unit)?;
                within::<MIN, MAX>(size.as_u64())?.try_into().ok()
            },
            |size| bytes_text(*size as u64),
            "a size with its unit such as \"64KiB\"",
        )
    }
}

/// The words that a setting may hold, and the value of each.
pub(super) trait Words: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// One of some words.
pub(super) const fn word<T: Words>() -> Kind<T> {
    Kind {
        choices: || {
            let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
            format!("; write {}", words.join(" or "))
        },
        ..Kind::text(
            |text| {
                let found = T::WORDS.iter().find(|(word, _)| *word == text);
                found.map(|(_, value)| *value)
            },
            |value| {
                let words = T::WORDS.iter().filter(|(_, other)| other == value);
                words.map(|(word, _)| *word).collect()
            },
            "a choice here",
        )
    }
}

fn within<const MIN: u64, const MAX: u64>(number: u64) -> Option<u64> {
    (MIN..=MAX).contains(&number).then_some(number)
}

fn printable(text: &str) -> Option<String> {
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn host(text: &str) -> Option<String> {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let is_host = text.parse::<IpAddr>().is_ok() || text.bytes().all(is_part);
    is_host.then(|| text.to_owned())
}

fn origins(texts: Vec<String>) -> Option<Vec<String>> {
    let is_origin = |text: &String| text.bytes().all(|b| b.is_ascii_graphic());
    texts.iter().all(is_origin).then_some(texts)
}

/// `EnvFilter` takes any word for the name of a module, so a misspelt level would silence all.
fn log_filter(text: &str) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_word = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_level = |part: &str| LEVELS.iter().any(|level| part.eq_ignore_ascii_case(level));
    let is_misspelt = |part: &str| is_word(part) && !is_level(part);
    let is_filter =
        !text.split(',').map(str::trim).any(is_misspelt) && EnvFilter::try_new(text).is_ok();
    is_filter.then(|| text.to_owned())
}

fn nodes_with<const PORT: u16>(texts: Vec<String>) -> Option<Vec<String>> {
    let node = |text: &String| RedisUrl::node(text, PORT);
    texts.iter().map(node).collect()
}

fn redacted<T>(_: &T) -> String {
    "(redacted)".to_owned()
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
