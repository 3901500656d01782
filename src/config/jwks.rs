//! Where the key set of tokens is, and which algorithms it implies.

use std::{fmt, path::PathBuf, time::Duration};

use url::Url;

use super::{
    ALGORITHMS, Algorithm, AlgorithmFamily, resolve::Resolver, settings::Settings, table::auth,
};
use crate::wire::is_loopback;

/// A JSON Web Key Set (RFC 7517), read at intervals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwks {
    pub source: JwksSource,
    pub refresh_interval: Duration,
}

/// Where a key set is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    File(PathBuf),
    Url {
        /// `https`, or `http` on a loopback address.
        url: Url,
        /// A PEM file with certificate authorities to trust besides the system's.
        ca_file: Option<PathBuf>,
    },
}

/// What a secret beside a key set verifies if no algorithms are given. The set verifies every public-key
/// algorithm, as its keys say which ones they are for.
const WITH_SECRET: &str = "HS256";

impl Settings {
    pub(super) fn has_jwks(&self) -> bool {
        self.deciding(&auth::jwks_url.key).is_some()
    }

    /// Returns the names of the algorithms that tokens may have.
    pub(super) fn algorithms(&self) -> Vec<String> {
        if self.is_given(&auth::algorithms.key) || !self.has_jwks() {
            return self.get(&auth::algorithms);
        }
        let is_used = |name: &&str| !is_hmac(name) || *name == WITH_SECRET && self.has_secret();
        let used = ALGORITHMS.into_iter().filter(is_used);
        used.map(str::to_owned).collect()
    }

    fn has_secret(&self) -> bool {
        self.deciding(&auth::secret.key).is_some()
    }
}

impl Resolver<'_> {
    pub(super) fn jwks(&mut self) -> Option<Jwks> {
        let url = self.settings.get(&auth::jwks_url);
        let ca_file = self.path(&auth::jwks_ca_file);
        let is_https = url.as_ref().is_some_and(|url| url.scheme() == "https");
        if ca_file.is_some() && !is_https {
            let found = "used only with an https auth.jwks_url";
            self.blame(&auth::jwks_ca_file.key, found, "remove it or give that");
        }
        let source = match url {
            Some(url) => JwksSource::Url { url, ca_file },
            None => JwksSource::File(self.path(&auth::jwks_file)?),
        };
        Some(Jwks {
            source,
            refresh_interval: self.settings.get(&auth::jwks_refresh_interval),
        })
    }

    /// Reports algorithms that need a secret if only a key set is given.
    pub(super) fn check_algorithms(&mut self) {
        let settings = self.settings;
        if !settings.has_jwks() || settings.has_secret() {
            return;
        }
        let algorithms = settings.algorithms();
        if let Some(name) = algorithms.iter().find(|name| is_hmac(name)) {
            let found =
                format_args!("{name:?} needs auth.secret, as a key set never holds a secret");
            let remedy = "remove it from the list, or set JWT_SECRET";
            self.blame(&auth::algorithms.key, found, remedy);
        }
    }
}

impl fmt::Display for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url { url, .. } => url.fmt(f),
        }
    }
}

/// Reads the URL of a key set. Anyone who can change what it serves can sign tokens.
pub(super) fn parse_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_safe = match url.scheme() {
        "https" => true,
        "http" => is_loopback(&url),
        _ => false,
    };
    let is_bare = url.username().is_empty() && url.password().is_none();
    (is_safe && is_bare && url.fragment().is_none()).then_some(url)
}

/// Whether the algorithm signs and verifies with the same secret.
pub(super) fn is_hmac(name: &str) -> bool {
    let algorithm: Option<Algorithm> = name.parse().ok();
    algorithm.is_some_and(|algorithm| algorithm.family() == AlgorithmFamily::Hmac)
}
