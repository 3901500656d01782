//! Where Redis is: a URL taken apart, so that the rest of the process never holds a password in one.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use super::{
    Redis,
    problem::{Problem, Problems},
    settings::Settings,
    topology::{Place, Unintelligible},
};
use crate::secret::Secret;

/// The parts of `redis://user:password@host:6379/0` and of `redis+unix:///path?db=0`.
#[derive(Debug, Clone)]
pub(super) struct RedisUrl {
    /// Scheme, host and port, or scheme and path.
    address: String,
    username: Option<String>,
    password: Option<Secret>,
    database: Option<u64>,
}

impl RedisUrl {
    /// `None` for what is no Redis URL; the text may hold a password, so nothing is told of it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        if url.fragment().is_some() {
            return None;
        }
        match url.scheme() {
            "redis" | "valkey" => Self::tcp("redis", &url),
            "rediss" | "valkeys" => Self::tcp("rediss", &url),
            "unix" | "redis+unix" | "valkey+unix" => Self::unix(&url),
            _ => None,
        }
    }

    /// As the operator wrote it, but for the password.
    pub(super) fn redacted(&self) -> String {
        let url = self.with_database(self.database.unwrap_or(0));
        let user = self.username.as_deref().unwrap_or_default();
        match (&self.password, url.split_once("://")) {
            (Some(_), Some((scheme, rest))) => format!("{scheme}://{user}:(redacted)@{rest}"),
            (None, Some((scheme, rest))) if !user.is_empty() => format!("{scheme}://{user}@{rest}"),
            _ => url,
        }
    }

    fn tcp(scheme: &str, url: &Url) -> Option<Self> {
        let host = url.host_str().filter(|host| !host.is_empty())?;
        if url.query().is_some() {
            return None;
        }
        let database = match url.path().trim_matches('/') {
            "" => None,
            digits => Some(digits.parse().ok()?),
        };
        let decoded = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .ok()
                .map(String::from)
        };
        let username = decoded(url.username())?;
        let password = decoded(url.password().unwrap_or_default())?;
        Some(Self {
            address: format!("{scheme}://{host}:{}", url.port().unwrap_or(6379)),
            username: Some(username).filter(|text| !text.is_empty()),
            password: Some(password)
                .filter(|text| !text.is_empty())
                .map(Secret::new),
            database,
        })
    }

    fn unix(url: &Url) -> Option<Self> {
        if url.has_host() || url.path().len() < 2 {
            return None;
        }
        let mut parts = Self {
            address: format!("redis+unix://{}", url.path()),
            username: None,
            password: None,
            database: None,
        };
        for (name, value) in url.query_pairs() {
            let value = Some(value.into_owned()).filter(|value| !value.is_empty());
            match name.as_ref() {
                "db" => parts.database = value.map(|digits| digits.parse()).transpose().ok()?,
                "user" => parts.username = value,
                "pass" => parts.password = value.map(Secret::new),
                _ => return None,
            }
        }
        Some(parts)
    }

    /// One of many nodes, as `host:port` or with a scheme, in full; passwords and databases are
    /// given for all of them elsewhere.
    pub(super) fn node(text: &str, default_port: u16) -> Option<String> {
        let text = match text.split_once("://") {
            Some(_) => text.to_owned(),
            None => format!("redis://{text}"),
        };
        let port = Url::parse(&text).ok()?.port().unwrap_or(default_port);
        let parts = Self::parse(&text)?;
        let bare = parts.username.is_none() && parts.password.is_none() && parts.database.is_none();
        let (address, _) = parts.address.rsplit_once(':')?;
        (bare && !address.starts_with("redis+unix")).then(|| format!("{address}:{port}"))
    }

    /// What was made by [`Self::node`].
    pub(super) fn of_node(node: &str) -> Self {
        Self {
            address: node.to_owned(),
            username: None,
            password: None,
            database: None,
        }
    }

    pub(super) fn with_database(&self, database: u64) -> String {
        let address = &self.address;
        match database {
            0 => address.clone(),
            _ if address.starts_with("redis+unix") => format!("{address}?db={database}"),
            _ => format!("{address}/{database}"),
        }
    }

    fn is_tls(&self) -> bool {
        self.address.starts_with("rediss:")
    }
}

impl Settings {
    /// How to reach Redis, or `None` when nothing says that there is one.
    pub(super) fn redis(&self, problems: &mut Problems) -> Option<Redis> {
        let tls_ca_file = self.path("redis.tls_ca_file", problems);
        let tls_client_files = self.tls_client_files(problems);
        let place = match self.place() {
            Ok(place) => place,
            // A problem already; whether it meant TLS is unknown.
            Err(Unintelligible) => return None,
        };
        self.check_tls(place.as_ref(), problems);
        let place = place?;
        let url = place.url();
        let by_key = |key, in_url: bool, problems: &mut Problems| {
            self.given(key).is_some() && self.is_stronger(key, in_url, problems)
        };
        let database = if by_key("redis.database", url.database.is_some(), problems) {
            self.number("redis.database")
        } else {
            url.database.unwrap_or(0)
        };
        let username = if by_key("redis.username", url.username.is_some(), problems) {
            self.optional_text("redis.username")
        } else {
            url.username.clone()
        };
        let password_keys = ["redis.password", "redis.password_file"];
        let password = if password_keys
            .iter()
            .any(|key| by_key(key, url.password.is_some(), problems))
        {
            self.secret("redis.password", problems)
        } else {
            url.password.clone()
        };
        Some(Redis {
            topology: self.topology(place, database, problems),
            username,
            password,
            tls_ca_file,
            tls_client_files,
            channel_prefix: self.text("redis.channel_prefix"),
            connect_timeout: self.duration("redis.connect_timeout"),
            command_timeout: self.duration("redis.command_timeout"),
        })
    }

    pub(super) fn redis_by_host(&self) -> RedisUrl {
        let host = self.text("redis.host");
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        RedisUrl {
            address: format!("redis://{host}:{}", self.number::<u16>("redis.port")),
            username: None,
            password: None,
            database: None,
        }
    }

    /// Whether the key counts and not the URL: the stronger source's does, and a source that says
    /// it in both has made a mistake.
    fn is_stronger(&self, key: &str, in_url: bool, problems: &mut Problems) -> bool {
        let (Some(given), Some(url)) = (self.given(key), self.given("redis.url")) else {
            return true;
        };
        if in_url && given.origin.rank() == url.origin.rank() {
            let text = format_args!(
                "{key}: the redis.url at {} has one too; keep one",
                url.origin
            );
            problems.add(Problem::at(given.origin.place(), text));
        }
        !in_url || given.origin.rank() >= url.origin.rank()
    }

    fn tls_client_files(&self, problems: &mut Problems) -> Option<(PathBuf, PathBuf)> {
        let keys = ["redis.tls_cert_file", "redis.tls_key_file"];
        for (key, other) in [(keys[0], keys[1]), (keys[1], keys[0])] {
            if let (Some(given), None) = (self.given(key), self.given(other)) {
                let text = format_args!("{key}: {other} is missing; give both or none");
                problems.add(Problem::at(given.origin.place(), text));
            }
        }
        let [cert, key] = keys.map(|key| self.path(key, problems));
        cert.zip(key)
    }

    fn check_tls(&self, place: Option<&Place>, problems: &mut Problems) {
        if place.is_some_and(|place| place.url().is_tls()) {
            return;
        }
        for key in [
            "redis.tls_ca_file",
            "redis.tls_cert_file",
            "redis.tls_key_file",
        ] {
            if let Some(given) = self.given(key) {
                let remedy = match place {
                    Some(Place::Sentinels(_)) => "begin redis.sentinels with rediss://",
                    Some(Place::Cluster(_)) => "begin redis.cluster with rediss://",
                    Some(Place::Url(_)) | None => "set redis.url to rediss://…",
                };
                let text = format_args!("{key}: of no use without TLS; {remedy}");
                problems.add(Problem::at(given.origin.place(), text));
            }
        }
    }
}
