//! Whole configurations, from sources to what the process uses.

mod advice;
mod jwks;
mod mistakes;
mod place;
mod precedence;
mod redis;
mod resolved;
mod secrets;
mod topology;

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{Config, Flag, Loaded, Problems, Redis, Settings, Sources, load};

const JWT_SECRET: &str = "an-hmac-secret-of-some-forty-bytes-in-all";
const INTERNAL_SECRET: &str = "an-internal-secret-that-nobody-may-see";

/// A working directory of its own, and the sources of a process started there.
struct Start {
    directory: TempDir,
    sources: Sources,
}

impl Start {
    /// With no settings.
    fn bare() -> Self {
        let directory = TempDir::new().expect("a folder for temporary files");
        let sources = Sources {
            directory: directory.path().to_owned(),
            system_file: directory.path().join("etc-sockd.toml"),
            ..Sources::default()
        };
        Self { directory, sources }
    }

    /// With the two required secrets in the environment.
    fn new() -> Self {
        Self::bare()
            .env("JWT_SECRET", JWT_SECRET)
            .env("INTERNAL_SECRET", INTERNAL_SECRET)
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.insert(name.to_owned(), value.into());
        self
    }

    fn flag(mut self, name: &'static str, key: &'static str, value: &str) -> Self {
        let value = value.to_owned();
        self.sources.flags.push(Flag { name, key, value });
        self
    }

    fn file(self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> Self {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a new folder");
        fs::write(path, text).expect("a new file");
        self
    }

    fn toml(self, text: &str) -> Self {
        self.file("sockd.toml", text)
    }

    fn load(&self) -> Result<Settings, Problems> {
        load(&self.sources)
    }

    fn settings(&self) -> Settings {
        self.load().unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn loaded(&self) -> Loaded {
        let loaded = self.settings().resolve();
        loaded.unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The warnings, one text each.
    fn warnings(&self) -> Vec<String> {
        let warnings = self.loaded().warnings;
        warnings.iter().map(ToString::to_string).collect()
    }

    fn config(&self) -> Config {
        self.loaded().config
    }

    fn redis(&self) -> Redis {
        self.config().redis.expect("Redis is configured")
    }

    /// The problems, one line each.
    fn problems(&self) -> String {
        let resolved = self.load().and_then(|settings| settings.resolve());
        resolved.expect_err("a problem").to_string()
    }

    /// The value and the origin of one setting.
    fn row(&self, key: &str) -> (Option<String>, String) {
        let mut rows = self.settings().rows().into_iter();
        let row = rows.find(|row| row.key == key).expect("a known key");
        (row.value, row.origin)
    }
}
