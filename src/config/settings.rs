//! The effective values: what all sources give, the strongest first.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use super::{
    environment::Environment,
    file::File,
    kind::Value,
    problem::{Problem, Problems},
    setting::{Fallback, Given, Key, Setting},
    source::{Origin, Sources},
    table::{SETTINGS, WHERE_REDIS_IS, find, redis},
};

/// The effective values, not yet resolved.
#[derive(Debug, Clone)]
pub struct Settings {
    given: Vec<Given>,
    pub(super) problems: Problems,
    /// Warnings about the sources.
    pub(super) notes: Vec<Problem>,
    /// The server of SOCKD_URL, which commands call.
    pub(super) instance: Option<String>,
    /// The variables that are set to an empty text.
    pub(super) blank: BTreeSet<String>,
    file: Option<Arc<Path>>,
    directory: PathBuf,
}

/// One line of `sockd config show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub key: &'static str,
    /// `None`: not set; a secret is `(redacted)`.
    pub value: Option<String>,
    /// `default`, `sockd.toml:3`, `environment PORT`, `.env PORT` or `flag --port`.
    pub origin: String,
}

/// Reads all sources and keeps the strongest value of every setting.
///
/// Mistakes in single values are kept, and reported together with whatever else is wrong when the
/// settings are resolved, so that all can be fixed at once.
///
/// # Errors
/// A configuration file that is missing or is not TOML: without it, nothing else is certain.
pub fn load(sources: &Sources) -> Result<Settings, Problems> {
    let mut problems = Problems::default();
    let mut notes = Vec::new();
    let environment = Environment::read(sources, &mut problems);
    let file = File::find(sources, &environment)?;
    let from_file = match &file {
        Some(file) => file.read(&mut problems)?,
        None => Vec::new(),
    };
    environment.check_names(&mut problems, &mut notes);
    let own = environment.own(&mut problems);
    let familiar = environment.familiar(&own, &mut problems, &mut notes);
    let flags = from_flags(sources, &mut problems);

    let mut given: Vec<Given> = Vec::new();
    for weaker in [flags, own, familiar, from_file] {
        check_rivals(&weaker, &mut problems);
        notes.extend(displaced_place(&given, &weaker));
        let is_decided = |key: &Key| given.iter().any(|stronger| stronger.decides(key));
        let undecided = weaker.into_iter().filter(|weaker| !is_decided(weaker.key));
        let undecided: Vec<_> = undecided.collect();
        given.extend(undecided);
    }
    Ok(Settings {
        given,
        problems,
        notes,
        instance: environment.get("SOCKD_URL").map(|(url, _)| url.to_owned()),
        blank: environment.blank(),
        file: file.map(|file| file.name),
        directory: sources.directory.clone(),
    })
}

fn from_flags(sources: &Sources, problems: &mut Problems) -> Vec<Given> {
    let given = sources.flags.iter().filter_map(|flag| {
        let key = find(flag.key).expect("a flag gives a setting");
        key.take(Value::Text(&flag.value), Origin::Flag(flag.name), problems)
    });
    given.collect()
}

/// Reports settings that one source gives in two ways.
fn check_rivals(given: &[Given], problems: &mut Problems) {
    for one in given {
        let is_rival =
            |other: &&Given| one.key.is_rival(other.key) && other.key.path > one.key.path;
        let mut rivals: Vec<_> = given.iter().filter(is_rival).collect();
        rivals.sort_by_key(|rival| rival.key.path);
        for Given { key, origin, .. } in rivals {
            let found = format_args!("{} is given too, at {origin}", key.path);
            problems.add(one.place(), found, "keep one");
        }
    }
}

/// Warns if another Redis than the weaker source's is used.
fn displaced_place(given: &[Given], weaker: &[Given]) -> Option<Problem> {
    let rivals = |key: &'static Key| given.iter().filter(move |other| key.is_rival(other.key));
    let is_given = |key: &Key| given.iter().any(|other| other.key.path == key.path);
    let mut places = weaker
        .iter()
        .filter(|place| place.key.subject == WHERE_REDIS_IS);
    let displaced =
        places.find(|place| !is_given(place.key) && rivals(place.key).next().is_some())?;
    let by = rivals(displaced.key).min_by_key(|rival| rival.key.path)?;
    let found = format_args!(
        "{} overrides {} ({}), so that Redis is not used",
        by.key.path, displaced.key.path, displaced.origin
    );
    let place = by.origin.place();
    Some(Problem::new(place, found, "unset one of them"))
}

impl Settings {
    /// The file that was read, as it was named.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns every setting in the order of the example file, with its effective value.
    pub fn rows(&self) -> Vec<Row> {
        let uses_host = self.uses_redis_of_host();
        let row = |key: &'static Key| {
            let given = self.given(key);
            let is_unused = matches!(key.fallback, Fallback::WithRedis(_)) && !uses_host;
            let default = || match key.path {
                // Its default depends on where the keys are.
                "auth.algorithms" => Some(self.algorithms().join(",")),
                _ => key.default().filter(|_| !is_unused),
            };
            Row {
                key: key.path,
                value: given.map(|given| given.read.shown.clone()).or_else(default),
                origin: given
                    .map_or_else(|| "default".to_owned(), |given| given.origin.to_string()),
            }
        };
        SETTINGS.iter().copied().map(row).collect()
    }

    /// Warnings about the sources.
    pub fn notes(&self) -> &[Problem] {
        &self.notes
    }

    /// Whether every value could be read.
    ///
    /// # Errors
    /// All that could not, in every source.
    pub fn mistakes(&self) -> Result<(), Problems> {
        self.problems.clone().or(())
    }

    /// Whether sessions are kept in Redis.
    pub fn uses_redis(&self) -> bool {
        let keys = [
            &redis::url.key,
            &redis::database.key,
            &redis::username.key,
            &redis::password.key,
        ];
        keys.iter().any(|key| self.deciding(key).is_some())
    }

    /// Whether the host and port say where Redis is.
    pub(super) fn uses_redis_of_host(&self) -> bool {
        let others = [&redis::url.key, &redis::sentinels.key, &redis::cluster.key];
        self.uses_redis() && !others.iter().any(|key| self.is_given(key))
    }

    /// Returns what a source gives for the setting or one of its rivals.
    pub(super) fn deciding(&self, key: &Key) -> Option<&Given> {
        self.given.iter().find(|given| given.decides(key))
    }

    pub(super) fn given(&self, key: &Key) -> Option<&Given> {
        self.given.iter().find(|given| given.key.path == key.path)
    }

    pub(super) fn is_given(&self, key: &Key) -> bool {
        self.given(key).is_some()
    }

    /// Returns what a source gives for the setting, or its default; also if what is given could not
    /// be read.
    pub(super) fn get<T: Clone + 'static, F>(&self, setting: &Setting<T, F>) -> F {
        let value = self.given(&setting.key).and_then(Given::value);
        (setting.settle)(value, &setting.kind)
    }

    /// Returns the folder that a path given there is relative to: the file's own, or else the
    /// working directory.
    pub(super) fn base(&self, key: &Key) -> PathBuf {
        match self.given(key).map(|given| &given.origin) {
            Some(Origin::File { file, .. }) => {
                let file = self.directory.join(file);
                file.parent().unwrap_or(&self.directory).to_owned()
            }
            _ => self.directory.clone(),
        }
    }
}
