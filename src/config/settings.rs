//! The values that hold: what all sources give, the strongest first.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use super::{
    environment::Environment,
    file::File,
    key::{Fallback, Key},
    kind::Input,
    problem::{Problem, Problems},
    source::{Origin, Sources},
    table::{Chosen, Raw, Setting, WHERE_REDIS_IS},
};

/// Reads all sources and keeps the strongest value of every setting.
///
/// Mistakes in single values are kept, and reported by whatever is resolved from the settings,
/// together with what else is wrong then, so that nobody fixes one only to be told of the next.
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
        None => Raw::default(),
    };
    environment.check_names(&mut problems, &mut notes);
    let own = environment.own(&mut problems);
    let familiar = environment.familiar(&own, &mut problems, &mut notes);
    let flags = from_flags(sources, &mut problems);

    let mut raw = Raw::default();
    for weaker in [flags, own, familiar, from_file] {
        check_rivals(&weaker, &mut problems);
        add_below(&mut raw, weaker, &mut notes);
    }
    Ok(Settings {
        chosen: Chosen::new(raw)?,
        problems,
        notes,
        instance: environment.get("SOCKD_URL").map(|(url, _)| url.to_owned()),
        blank: environment.blank().cloned().collect(),
        file: file.map(|file| file.name),
        directory: sources.directory.clone(),
    })
}

fn from_flags(sources: &Sources, problems: &mut Problems) -> Raw {
    let mut raw = Raw::default();
    for flag in &sources.flags {
        let origin = Origin::Flag { name: flag.name };
        match Setting::find(flag.key) {
            Some(setting) => raw.read(setting, Input::Text(&flag.value), &origin, problems),
            None => {
                let text = format_args!("unknown key {}", flag.key);
                problems.add(Problem::at(&origin, text));
            }
        }
    }
    raw
}

/// Reports settings that one source gives in two ways.
fn check_rivals(raw: &Raw, problems: &mut Problems) {
    for (Setting { key, .. }, origin) in raw.given() {
        let is_rival = |other: &Key| key.is_rival(other) && other.path > key.path;
        let rivals = raw.given().filter(|(other, _)| is_rival(&other.key));
        let mut rivals: Vec<_> = rivals.map(|(rival, at)| (rival.key.path, at)).collect();
        rivals.sort_by_key(|(path, _)| *path);
        for (rival, at) in rivals {
            let text = format_args!("{rival} is given too, at {at}; keep one");
            problems.add(key.problem(origin, text));
        }
    }
}

/// Adds the values of a weaker source that are not decided yet, and warns if another Redis than the
/// weaker source's is used.
fn add_below(raw: &mut Raw, mut weaker: Raw, notes: &mut Vec<String>) {
    notes.extend(displaced_place(raw, &weaker));
    let given = weaker.given().map(|(setting, _)| setting);
    let undecided: Vec<_> = given.filter(|setting| !raw.decides(&setting.key)).collect();
    for setting in undecided {
        raw.take(setting, &mut weaker);
    }
}

fn displaced_place(raw: &Raw, weaker: &Raw) -> Option<String> {
    let is_displaced = |setting: &Setting| {
        let is_place = setting.key.subject == WHERE_REDIS_IS;
        is_place && raw.origin(setting).is_none() && raw.decides(&setting.key)
    };
    let (displaced, at) = weaker.given().find(|(setting, _)| is_displaced(setting))?;
    let rivals = raw
        .given()
        .filter(|(setting, _)| setting.key.is_rival(&displaced.key));
    let (by, origin) = rivals.min_by_key(|(setting, _)| setting.key.path)?;
    Some(format!(
        "{}: {} overrides {} ({at}), so that Redis is not used; unset one of them",
        origin.place(),
        by.key.path,
        displaced.key.path
    ))
}

/// The values that hold, not yet resolved.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(super) chosen: Chosen,
    pub(super) problems: Problems,
    /// What is odd but works.
    pub(super) notes: Vec<String>,
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

impl Settings {
    /// The file that was read, as it was named.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns every setting in the order of the example file, with the value that holds.
    pub fn rows(&self) -> Vec<Row> {
        let redis = &self.chosen.redis;
        let is_elsewhere =
            redis.url.is_given() || redis.sentinels.is_given() || redis.cluster.is_given();
        let uses_host = self.uses_redis() && !is_elsewhere;
        let mut rows = Vec::new();
        self.chosen.each(|key, shown, origin| {
            let is_for_host = matches!(key.fallback, Fallback::WithRedis(_));
            let is_unused = is_for_host && !uses_host && *origin == Origin::Default;
            rows.push(Row {
                key: key.path,
                value: shown.filter(|_| !is_unused).map(str::to_owned),
                origin: origin.to_string(),
            });
        });
        rows
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
        let redis = &self.chosen.redis;
        redis.url.is_given()
            || redis.host.is_given()
            || redis.port.is_given()
            || redis.sentinels.is_given()
            || redis.cluster.is_given()
            || redis.database.is_given()
            || redis.username.is_given()
            || redis.password.is_given()
            || redis.password_file.is_given()
    }

    /// Returns the folder that a path given there is relative to: the file's own, or else the
    /// working directory.
    pub(super) fn base(&self, origin: &Origin) -> PathBuf {
        let Origin::File { file, .. } = origin else {
            return self.directory.clone();
        };
        let file = self.directory.join(file);
        file.parent()
            .map_or_else(|| self.directory.clone(), Path::to_owned)
    }
}
