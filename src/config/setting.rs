//! What is known of one setting, and which one a mistaken name meant.

use super::{keys::SETTINGS, kind::Kind};

/// One thing that an operator can choose.
#[derive(Debug)]
pub(super) struct Setting {
    /// `section.name`, as in the file.
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    pub(super) fallback: Fallback,
    /// Its variables beside the `SOCKD_` one, the first that is not blank wins.
    pub(super) legacy: &'static [&'static str],
    /// One line: what it is, and why the default is what it is.
    pub(super) why: &'static str,
}

/// What holds when no source gives a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    Is(&'static str),
    /// Holds once another key says that Redis is used.
    WithRedis(&'static str),
    /// Nothing; the text is an example in TOML.
    Unset(&'static str),
}

/// A setting without familiar variables.
pub(super) const fn setting(
    key: &'static str,
    kind: Kind,
    fallback: Fallback,
    why: &'static str,
) -> Setting {
    Setting {
        key,
        kind,
        fallback,
        legacy: &[],
        why,
    }
}

impl Setting {
    /// The same with variables that were there before it.
    pub(super) const fn legacy(mut self, names: &'static [&'static str]) -> Self {
        self.legacy = names;
        self
    }

    /// The setting of that key.
    pub(super) fn find(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    pub(super) fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    pub(super) fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }

    /// Its own variable: `SOCKD_SERVER__PORT`.
    pub(super) fn variable(&self) -> String {
        let (section, name) = (self.section(), self.name());
        format!("SOCKD_{section}__{name}").to_uppercase()
    }

    /// The variable that a person would set: the familiar one if there is one.
    pub(super) fn familiar_variable(&self) -> String {
        let familiar = self.legacy.first().map(|name| (*name).to_owned());
        familiar.unwrap_or_else(|| self.variable())
    }

    /// Of a secret, the setting that reads the same from a file.
    pub(super) fn file(&self) -> Option<&'static Self> {
        match self.kind {
            Kind::Secret => Self::find(&format!("{}_file", self.key)),
            Kind::Secrets => Self::find(&format!("{}_files", self.key.trim_end_matches('s'))),
            _ => None,
        }
    }

    /// The settings that say the same in another way: a source may give one of the two, and a
    /// higher source's choice of way makes a lower one's void.
    pub(super) fn rivals(&self) -> Vec<&'static Self> {
        let keys: &[&str] = match self.key {
            "redis.url" => &[
                "redis.cluster",
                "redis.host",
                "redis.port",
                "redis.sentinels",
            ],
            "redis.host" | "redis.port" => &["redis.cluster", "redis.sentinels", "redis.url"],
            "redis.sentinels" => &["redis.cluster", "redis.host", "redis.port", "redis.url"],
            "redis.cluster" => &["redis.host", "redis.port", "redis.sentinels", "redis.url"],
            _ => {
                let is_rival = |other: &&Self| {
                    let is_file = |a: &Self, b: &Self| a.file().is_some_and(|f| f.key == b.key);
                    is_file(self, other) || is_file(other, self)
                };
                return SETTINGS.iter().filter(is_rival).collect();
            }
        };
        keys.iter().filter_map(|key| Self::find(key)).collect()
    }
}

/// The key that was most likely meant.
pub(super) fn nearest_key(unknown: &str) -> Option<&'static str> {
    let leaf = unknown.rsplit('.').next().unwrap_or(unknown);
    let same_leaf = SETTINGS.iter().find(|setting| setting.name() == leaf);
    nearest(unknown, SETTINGS.iter().map(|setting| setting.key))
        .or_else(|| same_leaf.map(|setting| setting.key))
}

/// The known text within a few keystrokes of the unknown one.
pub(super) fn nearest<T: AsRef<str>>(unknown: &str, known: impl Iterator<Item = T>) -> Option<T> {
    let reach = (unknown.chars().count() / 3).clamp(1, 4);
    known
        .map(|name| (strsim::damerau_levenshtein(unknown, name.as_ref()), name))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
