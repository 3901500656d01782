//! A URL of Redis in its parts, so that no URL in the rest of the process holds a password.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::secret::Secret;

/// The parts of `redis://user:password@host:6379/0` and of `redis+unix:///path?db=0`.
#[derive(Debug, Clone, Default)]
pub(super) struct RedisUrl {
    /// Scheme, host and port, or scheme and path.
    address: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: Option<u64>,
}

impl RedisUrl {
    /// `None` if it is not a Redis URL; the text may hold a password, so no error quotes it.
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

    /// As it was written, without the password.
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
        let decoded = |text| {
            let text = percent_decode_str(text).decode_utf8().ok()?;
            Some(Some(text.into_owned()).filter(|text| !text.is_empty()))
        };
        Some(Self {
            address: format!("{scheme}://{host}:{}", url.port().unwrap_or(6379)),
            username: decoded(url.username())?,
            password: decoded(url.password().unwrap_or_default())?.map(Secret::new),
            database,
        })
    }

    fn unix(url: &Url) -> Option<Self> {
        if url.has_host() || url.path().len() < 2 {
            return None;
        }
        let mut parts = Self {
            address: format!("redis+unix://{}", url.path()),
            ..Self::default()
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

    /// Completes the address of one of several nodes, `host:port` with or without a scheme. It has
    /// neither password nor database, which are settings of their own for all nodes.
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

    pub(super) fn of_host(host: &str, port: u16) -> Self {
        let address = match host.contains(':') {
            true => format!("redis://[{host}]:{port}"),
            false => format!("redis://{host}:{port}"),
        };
        Self {
            address,
            ..Self::default()
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

    pub(super) fn is_tls(&self) -> bool {
        self.address.starts_with("rediss:")
    }
}
