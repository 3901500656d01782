//! The kinds of values that settings have.

use std::{fmt::Display, net::IpAddr, time::Duration};

use bytesize::ByteSize;
use clap::ValueEnum;
use ipnet::{IpNet, Ipv4Net};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{
    jwks,
    kind::{
        Kind,
        Parse::{Many, One},
        Shape,
    },
    listen::{self, InternalListener},
    redis_url::RedisUrl,
};
use crate::{
    id::{Charset, SupportedEvents},
    secret::Secret,
};

/// Defines kinds: how a value is written in TOML, read from text and shown; then what a value that was
/// refused is not, what to write instead, and which of the flags of [`Kind`] are set.
macro_rules! kinds {
    ($($NAME:ident: $T:ty = $Shape:ident, $read:expr, $show:expr;
        $expected:literal, $remedy:literal $(, $flag:ident)*;
    )*) => {
        $(pub(super) const $NAME: Kind<$T> = Kind {
            $($flag: true,)*
            ..Kind::new(Shape::$Shape, $read, $show, $expected, $remedy)
        };)*
    };
}

kinds! {
    TEXT: String = Text, One(printable), String::clone;
        "a text without control characters", "write it in quotes";
    PREFIX: String = Text, One(printable), String::clone;
        "a text without control characters", "write it in quotes", takes_nothing;
    PATH: String = Text, One(printable), String::clone;
        "a file's path", "write it in quotes";
    PATHS: Vec<String> = List, Many(|texts| each(texts, any)), |list| joined(list);
        "a list of files' paths", "write for example [\"old.key\"]";
    HOST: String = Text, One(host), String::clone;
        "an address or a host name", "give the port and the like on their own";
    LISTEN: InternalListener = Text, One(listen::parse), InternalListener::to_string;
        "an address to listen on",
        "write for example \"127.0.0.1:3001\", \"[::1]:3001\" or \"unix:/run/sockd/internal.sock\"";
    MODE: u32 = Text, One(listen::parse_mode), |mode| format!("{mode:04o}");
        "permission bits in octal that let the owner read and write",
        "write for example \"0660\", in quotes";
    LOG_FILTER: String = Text, One(log_filter), String::clone;
        "a log filter",
        "write error, warn, info, debug or trace, or for example \"info,sockd=debug\"";
    ALGORITHMS: Vec<String> = List, Many(|texts| each(texts, any)), |list| joined(list);
        "a list of texts", "write for example [\"HS256\"]";
    // The values that a claim may have.
    TEXTS: Vec<String> = ListOrText, Many(|texts| each(texts, printable)), |list| joined(list);
        "a text or a list of texts", "write for example [\"https://auth.example.com\"]";
    ORIGINS: Vec<String> = ListOrText, Many(|texts| each(texts, origin)), |list| joined(list);
        "an origin or a list of them", "write for example \"https://app.example.com\"";
    NETWORKS: Vec<IpNet> = List, Many(|texts| each(texts, network)), |list| joined(list);
        "a list of addresses and networks",
        "write for example [\"127.0.0.1\", \"10.0.0.0/8\", \"2001:db8::/32\"]";
    CHARSET: Charset = Text, One(|text| text.try_into().ok()), |charset| charset.as_str().to_owned();
        "characters and ranges", "write for example \"a-zA-Z0-9_.-\"";
    BOOLEAN: bool = Boolean, One(|text| text.parse().ok()), bool::to_string;
        "true or false", "write one of them, in the file without quotes";
    EVENTS: SupportedEvents = List, Many(events), |events| events.patterns().collect::<Vec<_>>().join(",");
        "a list of event names", "write for example [\"profile:update\", \"order:*\"]", takes_nothing;
    JWKS_URL: Url = Text, One(jwks::parse_url), Url::to_string;
        "the URL of a key set",
        "write https:// without a user or password, such as \
         \"https://auth.example.com/.well-known/jwks.json\"; http:// is accepted only on this machine",
        is_secret;
    REDIS_URL: RedisUrl = Text, One(RedisUrl::parse), RedisUrl::redacted;
        "a Redis URL",
        "write redis://, rediss:// or redis+unix:// such as \"redis://host:6379/0\", \
         with special characters of a password as %XX",
        is_secret;
    SECRET: Secret = Text, One(secret), |_| REDACTED.to_owned();
        "a text", "write it in quotes", is_secret, keeps_blanks;
    SECRETS: Vec<Secret> = List, Many(|texts| each(texts, secret)), |_| REDACTED.to_owned();
        "a list of texts", "write for example [\"...\"]", is_secret, keeps_blanks, takes_nothing;
}

const REDACTED: &str = "(redacted)";

/// `host:port` of some nodes, read as `redis://host:port`.
pub(super) const fn nodes<const PORT: u16>() -> Kind<Vec<String>> {
    Kind {
        choices: || format!("[\"10.0.0.1:{PORT}\"], and passwords elsewhere"),
        is_secret: true,
        ..Kind::new(
            Shape::List,
            Many(|texts| each(texts, |text| RedisUrl::node(text, PORT))),
            |list| joined(list),
            "a list of hosts with ports",
            "write for example ",
        )
    }
}

/// A whole number from `MIN` to `MAX`, both included.
pub(super) const fn number<T: TryFrom<u64> + Display, const MIN: u64, const MAX: u64>() -> Kind<T> {
    Kind {
        choices: || format!("{MIN} to {MAX}"),
        ..Kind::new(
            Shape::Integer,
            One(|text| within::<MIN, MAX>(text.parse().ok()?)?.try_into().ok()),
            T::to_string,
            "a whole number",
            "choose from ",
        )
    }
}

/// A time from `MIN` to `MAX` milliseconds, both included.
pub(super) const fn duration<const MIN: u64, const MAX: u64>() -> Kind<Duration> {
    Kind {
        choices: || format!("{} to {}", millis_text(MIN), millis_text(MAX)),
        ..Kind::new(
            Shape::Text,
            One(|text| {
                let range = Duration::from_millis(MIN)..=Duration::from_millis(MAX);
                let duration = humantime::parse_duration(text).ok()?;
                range.contains(&duration).then_some(duration)
            }),
            |duration| millis_text(duration.as_millis().try_into().unwrap_or(u64::MAX)),
            "a duration with its unit such as \"25s\"",
            "choose from ",
        )
    }
}

/// A size from `MIN` to `MAX` bytes, both included.
pub(super) const fn size<const MIN: u64, const MAX: u64>() -> Kind<usize> {
    Kind {
        choices: || format!("{} to {}", bytes_text(MIN), bytes_text(MAX)),
        ..Kind::new(
            Shape::Text,
            One(|text| {
                // Without a unit, a number of KiB could be taken for one of bytes.
                let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
                let size: ByteSize = text.parse().ok().filter(|_| has_unit)?;
                within::<MIN, MAX>(size.as_u64())?.try_into().ok()
            }),
            |size| bytes_text(*size as u64),
            "a size with its unit such as \"64KiB\"",
            "choose from ",
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
            T::value_variants()
                .iter()
                .map(name)
                .collect::<Vec<_>>()
                .join(" or ")
        },
        ..Kind::new(
            Shape::Text,
            One(|text| T::from_str(text, false).ok()),
            name,
            "a choice here",
            "write ",
        )
    }
}

fn each<T>(texts: &[&str], parse: fn(&str) -> Option<T>) -> Option<Vec<T>> {
    texts.iter().map(|text| parse(text)).collect()
}

fn within<const MIN: u64, const MAX: u64>(number: u64) -> Option<u64> {
    (MIN..=MAX).contains(&number).then_some(number)
}

fn joined<T: Display>(values: &[T]) -> String {
    let texts: Vec<_> = values.iter().map(T::to_string).collect();
    texts.join(",")
}

fn any(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text.to_owned()))
}

fn events(patterns: &[&str]) -> Option<SupportedEvents> {
    SupportedEvents::new(patterns.iter().copied()).ok()
}

fn host(text: &str) -> Option<String> {
    is_host(text).then(|| text.to_owned())
}

fn printable(text: &str) -> Option<String> {
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

pub(super) fn is_host(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    text.parse::<IpAddr>().is_ok() || text.bytes().all(is_part)
}

/// An address, or a network whose address has no bits after its prefix: such bits are probably a
/// mistake.
fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical().into());
    }
    let network: IpNet = text.parse().ok()?;
    (network.trunc() == network).then(|| canonical(network))
}

/// Turns a network of IPv4 that is written as one of IPv6, such as `::ffff:10.0.0.0/104`, into one of IPv4,
/// since that is how clients' addresses are compared.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let IpNet::V6(v6) = network else {
        return network;
    };
    let address = v6.addr().to_ipv4_mapped();
    let length = v6.prefix_len().checked_sub(MAPPED);
    let v4 = address
        .zip(length)
        .map(|(address, length)| Ipv4Net::new(address, length));
    v4.and_then(Result::ok).map_or(network, IpNet::V4)
}

fn origin(text: &str) -> Option<String> {
    text.bytes()
        .all(|b| b.is_ascii_graphic())
        .then(|| text.to_owned())
}

/// `EnvFilter` takes any word for the name of a module, so a misspelt level would silence all.
fn log_filter(text: &str) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
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
