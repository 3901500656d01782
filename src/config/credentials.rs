//! Secrets, certificates and keys, which may be in files of their own.

use std::{fmt::Display, io, path::PathBuf};

use super::{
    ClientTls, TlsFiles,
    resolve::Resolver,
    setting::{Key, Optional},
    table::file_of,
};
use crate::{file, secret::Secret};

/// The longest file with a secret or a key, in bytes; another file was probably meant.
const MAX_SECRET_FILE: u64 = 64 * 1_024;

impl Resolver<'_> {
    /// Reports a secret that is neither given nor in a file.
    pub(super) fn require(&mut self, secret: &Key) {
        if self.settings.deciding(secret).is_none() {
            self.missing(secret);
        }
    }

    /// Returns the secrets that callers send as bearer tokens: as [`Self::secrets`].
    pub(super) fn bearers(
        &mut self,
        secret: &Optional<Secret>,
        previous: &Optional<Vec<Secret>>,
    ) -> Vec<Secret> {
        let newest = self.bearer(secret);
        let replaced = self.replaced(previous);
        for (at, secret) in &replaced {
            if let Some(why) = secret.unsendable() {
                self.blame_bearer(&previous.key, format_args!("secret {} {why}", at + 1));
            }
        }
        let replaced = replaced.into_iter().map(|(_, secret)| secret);
        newest.into_iter().chain(replaced).collect()
    }

    /// Returns the secret that callers send as a bearer token, or the one in the file.
    pub(super) fn bearer(&mut self, setting: &Optional<Secret>) -> Option<Secret> {
        let secret = self.secret(setting)?;
        if let Some(why) = secret.unsendable() {
            self.blame_bearer(&setting.key, format_args!("the secret {why}"));
        }
        Some(secret)
    }

    fn blame_bearer(&mut self, key: &Key, why: impl Display) {
        let found = format_args!("{why}, so no caller can send it in an Authorization header");
        let remedy = "remove that, or make another secret with `openssl rand -hex 32`";
        let key = self.settings.deciding(key).map_or(key, |given| given.key);
        self.blame(key, found, remedy);
    }

    /// Returns the secret and those that it replaces, each given or in a file.
    pub(super) fn secrets(
        &mut self,
        secret: &Optional<Secret>,
        previous: &Optional<Vec<Secret>>,
    ) -> Vec<Secret> {
        let newest = self.secret(secret);
        let replaced = self.replaced(previous).into_iter();
        let replaced = replaced.map(|(_, secret)| secret);
        newest.into_iter().chain(replaced).collect()
    }

    /// Returns the secrets that are being replaced, each with its place in the list.
    fn replaced(&mut self, previous: &Optional<Vec<Secret>>) -> Vec<(usize, Secret)> {
        match self.settings.get(previous) {
            Some(given) => given.into_iter().enumerate().collect(),
            None => self.secrets_in_files(&previous.key, "create it or take it off the list"),
        }
    }

    /// Returns the secret, or the one in the file.
    pub(super) fn secret(&mut self, secret: &Optional<Secret>) -> Option<Secret> {
        self.settings.get(secret).or_else(|| {
            let remedy = format!("create it or set {}", secret.key.familiar_variable());
            let (_, secret) = self.secrets_in_files(&secret.key, &remedy).pop()?;
            Some(secret)
        })
    }

    fn secrets_in_files(&mut self, secret: &Key, remedy: &str) -> Vec<(usize, Secret)> {
        let settings = self.settings;
        let Some(given) = file_of(secret).and_then(|file| settings.given(file)) else {
            return Vec::new();
        };
        let file = given.value().map(|path: String| vec![path]);
        let paths: Vec<String> = file.or_else(|| given.value()).unwrap_or_default();
        let secrets = paths.iter().enumerate();
        secrets
            .filter_map(|(at, path)| Some((at, self.secret_in(given.key, path, remedy)?)))
            .collect()
    }

    /// Returns the paths of a certificate and its key; one without the other is a mistake.
    fn identity(
        &mut self,
        (certificate, key): (&Optional<String>, &Optional<String>),
    ) -> Option<(PathBuf, PathBuf)> {
        for (given, other) in [(certificate, key), (key, certificate)] {
            if !self.settings.is_given(&other.key) {
                let found = format_args!("{} is missing", other.key.path);
                self.blame(&given.key, found, "give both or none");
            }
        }
        let certificate = self.path(certificate);
        certificate.zip(self.path(key))
    }

    pub(super) fn tls(
        &mut self,
        section: &'static str,
        (certificate, key): (&Optional<String>, &Optional<String>),
        client_authority: Option<&Optional<String>>,
    ) -> Option<TlsFiles> {
        let identity = self.identity((certificate, key));
        if let Some(authority) = client_authority.filter(|_| identity.is_none()) {
            let remedy = format_args!("set {}", certificate.key.path);
            self.blame(&authority.key, "has no effect without TLS", remedy);
        }
        let client_authority = client_authority.and_then(|file| self.path(file));
        let (certificate, key) = identity?;
        Some(TlsFiles {
            section,
            certificate,
            key,
            client_authority,
        })
    }

    pub(super) fn client_tls(
        &mut self,
        authorities: &Optional<String>,
        identity: (&Optional<String>, &Optional<String>),
    ) -> ClientTls {
        ClientTls {
            authorities: self.path(authorities),
            identity: self.identity(identity),
        }
    }

    /// Returns the absolute path of a file that must exist, such as a certificate.
    pub(super) fn path(&mut self, setting: &Optional<String>) -> Option<PathBuf> {
        let text = self.settings.get(setting)?;
        let path = self.settings.base(&setting.key).join(&text);
        if let Err(error) = file::open(&path) {
            self.blame_file(
                &setting.key,
                &text,
                &error,
                "create it or leave the key out",
            );
        }
        Some(path)
    }

    fn secret_in(&mut self, key: &Key, path: &str, remedy: &str) -> Option<Secret> {
        let at = self.settings.base(key).join(path);
        match file::read_text(&at, MAX_SECRET_FILE) {
            Ok(text) => {
                if let Some(secret) = Secret::of_file(text) {
                    return Some(secret);
                }
                let found = format_args!("{path:?} is empty");
                self.blame(key, found, "write the secret into it");
            }
            Err(error) => self.blame_file(key, path, &error, remedy),
        }
        None
    }

    fn blame_file(&mut self, key: &Key, path: &str, error: &io::Error, remedy: &str) {
        if error.kind() == io::ErrorKind::NotFound {
            return self.blame(key, format_args!("{path:?} not found"), remedy);
        }
        let found = format_args!("{path:?} cannot be read: {error}");
        self.blame(key, found, "make it a file of text that sockd may read");
    }

    fn missing(&mut self, secret: &Key) {
        let names = secret.familiar.iter().copied();
        let blank = names.filter(|name| self.settings.blank.contains(*name));
        let blank = match blank.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => none,
            names => format!(" ({names} is set but empty)"),
        };
        let variables = match secret.familiar {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            _ => secret.familiar_variable(),
        };
        let file = file_of(secret).map_or("", |file| file.path);
        let remedy = format_args!(
            "set {variables}, for example to what `openssl rand -hex 32` prints, or {file} to a file \
             that holds it",
        );
        let found = format_args!("not set{blank}");
        self.problems.add(secret.path, found, remedy);
    }
}
