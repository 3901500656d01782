//! The winner of every setting: what was given, by whom, and what holds otherwise.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use super::{
    environment::Environment,
    file::File,
    keys::SETTINGS,
    kind::Value,
    problem::{Problem, Problems},
    setting::{Fallback::*, Setting},
    source::{Origin, Sources},
};

/// Reads all sources and keeps the strongest value of every setting.
///
/// Mistakes in single values are kept, and told by whatever is resolved from the settings together
/// with what else is wrong then, so that nobody mends one only to be told of the next.
///
/// # Errors
/// A configuration file that is not there or cannot be read as TOML: what it holds is unknown, so
/// nothing more could be said for certain.
pub fn load(sources: &Sources) -> Result<Settings, Problems> {
    let mut problems = Problems::default();
    let mut notes = Vec::new();
    let environment = Environment::read(sources, &mut problems);
    let file = File::find(sources, &environment)?;
    let from_file = match &file {
        Some(file) => file.layer(&mut problems)?,
        None => Layer::default(),
    };
    environment.check_names(&mut problems, &mut notes);
    let own = environment.own(&mut problems);
    let legacy = environment.legacy(&own, &mut problems, &mut notes);
    let flags = from_flags(sources, &mut problems);

    let mut given = Layer::default();
    for layer in [flags, own, legacy, from_file] {
        layer.check_rivals(&mut problems);
        given.add_below(layer, &mut notes);
    }
    let blank = SETTINGS
        .iter()
        .map(|setting| {
            (
                setting.key,
                environment.blank(setting).map(str::to_owned).collect(),
            )
        })
        .collect();
    Ok(Settings {
        given,
        problems,
        notes,
        instance: environment.get("SOCKD_URL").map(|(url, _)| url.to_owned()),
        blank,
        file: file.map(|file| file.name),
        directory: sources.directory.clone(),
    })
}

fn from_flags(sources: &Sources, problems: &mut Problems) -> Layer {
    let mut layer = Layer::default();
    for flag in &sources.flags {
        let origin = Origin::Flag { name: flag.name };
        let Some(setting) = Setting::find(flag.key) else {
            problems.add(Problem::at(
                &origin,
                format_args!("unknown key {}", flag.key),
            ));
            continue;
        };
        let value = setting.kind.read_text(&flag.value).unwrap_or_else(|text| {
            problems.add(Problem::of(setting, &origin, text));
            Some(Value::Invalid)
        });
        if let Some(value) = value {
            layer.insert(setting, Given { value, origin });
        }
    }
    layer
}

/// A value and where it was read.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// The settings that one source gives.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer(BTreeMap<&'static str, Given>);

impl Layer {
    pub(super) fn insert(&mut self, setting: &'static Setting, given: Given) {
        self.0.insert(setting.key, given);
    }

    /// Whether the setting, or another that says the same, is given here.
    pub(super) fn decides(&self, setting: &Setting) -> bool {
        let has = |setting: &Setting| self.0.contains_key(setting.key);
        has(setting) || setting.rivals().into_iter().any(has)
    }

    /// Reports settings that one source gives in two ways.
    fn check_rivals(&self, problems: &mut Problems) {
        for setting in SETTINGS {
            let Some(given) = self.0.get(setting.key) else {
                continue;
            };
            for rival in setting
                .rivals()
                .into_iter()
                .filter(|rival| rival.key > setting.key)
            {
                if let Some(other) = self.0.get(rival.key) {
                    let text =
                        format_args!("{} is given too, at {}; keep one", rival.key, other.origin);
                    problems.add(Problem::of(setting, &given.origin, text));
                }
            }
        }
    }

    /// Returns a warning if this source overrides where a weaker source says Redis is.
    fn displaced_place(&self, weaker: &Self) -> Option<String> {
        let (key, displaced) = PLACES.iter().find_map(|key| {
            let is_displaced = !self.0.contains_key(key) && self.decides(Setting::find(key)?);
            Some((key, weaker.0.get(key).filter(|_| is_displaced)?))
        })?;
        let rivals = Setting::find(key)?.rivals();
        let by = rivals
            .iter()
            .find_map(|rival| Some((rival.key, self.0.get(rival.key)?)));
        let (by_key, by) = by?;
        Some(format!(
            "{}: {by_key} overrides {key} ({}), so that Redis is not used; unset one of them",
            by.origin.place(),
            displaced.origin
        ))
    }

    /// Adds the values of a weaker source that this one does not decide, and warns if that changes
    /// which Redis is used.
    fn add_below(&mut self, weaker: Self, notes: &mut Vec<String>) {
        notes.extend(self.displaced_place(&weaker));
        let undecided =
            |key: &str| Setting::find(key).is_some_and(|setting| !self.decides(setting));
        let taken: Vec<_> = weaker
            .0
            .into_iter()
            .filter(|(key, _)| undecided(key))
            .collect();
        self.0.extend(taken);
    }
}

/// The settings that say where Redis is.
const PLACES: [&str; 5] = [
    "redis.url",
    "redis.host",
    "redis.port",
    "redis.sentinels",
    "redis.cluster",
];

/// Every setting's winner, not yet resolved.
#[derive(Debug, Clone)]
pub struct Settings {
    given: Layer,
    pub(super) problems: Problems,
    /// What is odd but works.
    pub(super) notes: Vec<String>,
    /// The instance of SOCKD_URL, which commands call.
    pub(super) instance: Option<String>,
    /// By key, the variables that are there but blank.
    blank: BTreeMap<&'static str, Vec<String>>,
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

impl Settings {
    /// The file that was read, as it was named.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Every setting in the order of the example file, with the value that holds.
    pub fn rows(&self) -> Vec<Row> {
        let row = |setting: &'static Setting| Row {
            key: setting.key,
            value: self.effective(setting).map(|value| value.shown()),
            origin: self.given(setting.key).map_or_else(
                || Origin::Default.to_string(),
                |given| given.origin.to_string(),
            ),
        };
        SETTINGS.iter().map(row).collect()
    }

    /// What is odd in the sources but works, a sentence each.
    pub fn notes(&self) -> &[String] {
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
        const REACHES: [&str; 4] = [
            "redis.database",
            "redis.username",
            "redis.password",
            "redis.password_file",
        ];
        let mut keys = PLACES.iter().chain(&REACHES);
        keys.any(|key| self.given(key).is_some())
    }

    pub(super) fn given(&self, key: &str) -> Option<&Given> {
        self.given.0.get(key)
    }

    pub(super) fn blank(&self, key: &str) -> &[String] {
        self.blank.get(key).map_or(&[], Vec::as_slice)
    }

    /// The folder that a path given there is relative to: the file's own, else the working directory.
    pub(super) fn base(&self, origin: &Origin) -> PathBuf {
        match origin {
            Origin::File { file, .. } => {
                let file = self.directory.join(file);
                file.parent()
                    .map_or_else(|| self.directory.clone(), Path::to_owned)
            }
            _ => self.directory.clone(),
        }
    }

    pub(super) fn text(&self, key: &str) -> String {
        self.optional_text(key).unwrap_or_default()
    }

    pub(super) fn optional_text(&self, key: &str) -> Option<String> {
        match self.sound(key)? {
            Value::Text(text) => Some(text),
            other => unreachable!("{key} holds {other:?}, not a text"),
        }
    }

    pub(super) fn boolean(&self, key: &str) -> bool {
        match self.sound(key) {
            Some(Value::Boolean(boolean)) => boolean,
            other => unreachable!("{key} holds {other:?}, neither true nor false"),
        }
    }

    pub(super) fn number<T: TryFrom<u64>>(&self, key: &str) -> T {
        let number = match self.sound(key) {
            Some(Value::Number(number)) => T::try_from(number).ok(),
            _ => None,
        };
        number.unwrap_or_else(|| unreachable!("{key} holds a number that was checked to fit"))
    }

    pub(super) fn duration(&self, key: &str) -> Duration {
        match self.sound(key) {
            Some(Value::Duration(duration)) => duration,
            other => unreachable!("{key} holds {other:?}, not a duration"),
        }
    }

    pub(super) fn size(&self, key: &str) -> usize {
        match self.sound(key) {
            Some(Value::Size(size)) => size,
            other => unreachable!("{key} holds {other:?}, not a size"),
        }
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        match self.sound(key) {
            Some(Value::List(list)) => list,
            None => Vec::new(),
            other => unreachable!("{key} holds {other:?}, not a list"),
        }
    }

    /// The value to go on with: the default where the given one is a problem.
    fn sound(&self, key: &str) -> Option<Value> {
        let setting = Setting::find(key).unwrap_or_else(|| unreachable!("{key} is in the table"));
        match self.effective(setting) {
            Some(Value::Invalid) => default(setting, true),
            value => value,
        }
    }

    fn effective(&self, setting: &Setting) -> Option<Value> {
        let given = self.given(setting.key).map(|given| given.value.clone());
        let elsewhere = ["redis.url", "redis.sentinels", "redis.cluster"];
        let by_host = self.uses_redis() && elsewhere.iter().all(|key| self.given(key).is_none());
        given.or_else(|| default(setting, by_host))
    }
}

fn default(setting: &Setting, with_redis: bool) -> Option<Value> {
    let text = match setting.fallback {
        Is(text) => text,
        WithRedis(text) if with_redis => text,
        WithRedis(_) | Unset(_) => return None,
    };
    let read = setting.kind.read_text(text);
    read.unwrap_or_else(|text| unreachable!("the default of {}: {text}", setting.key))
}
