//! The process environment, which overrides `.env`: which variable gives which setting.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io::ErrorKind,
};

use super::{
    dotenv,
    kind::{Refusal, Shape, Value},
    problem::{Problem, Problems},
    setting::{FILE, Given, Key},
    source::{Origin, Sources, is_out_of_sight},
    table::{self, SETTINGS, file_of, nearest},
};
use crate::file;

/// Every variable by name; the process's own overrides that of `.env` even if it is blank.
pub(super) struct Environment {
    variables: BTreeMap<String, Variable>,
}

struct Variable {
    /// `None`: not UTF-8.
    text: Option<String>,
    origin: Origin,
}

impl Environment {
    pub(super) fn read(sources: &Sources, problems: &mut Problems) -> Self {
        let mut variables = BTreeMap::new();
        for dotenv::Assignment { name, value, line } in read_dotenv(sources, problems) {
            let origin = Origin::DotEnv {
                name: name.clone(),
                line,
            };
            // The replacement for bytes that are not UTF-8.
            let text = Some(value).filter(|text| !text.contains('\u{fffd}'));
            variables.insert(name, Variable { text, origin });
        }
        for (name, value) in &sources.env {
            let origin = Origin::Environment(name.clone());
            let text = OsStr::to_str(value).map(str::to_owned);
            variables.insert(name.clone(), Variable { text, origin });
        }
        Self { variables }
    }

    /// Returns a variable and where it was read, unless it is blank.
    pub(super) fn get(&self, name: &str) -> Option<(&str, &Origin)> {
        let variable = self.variables.get(name)?;
        let text = variable.text.as_deref()?;
        (!text.trim().is_empty()).then_some((text, &variable.origin))
    }

    /// Returns the names of variables that are set to an empty text.
    pub(super) fn blank(&self) -> BTreeSet<String> {
        let is_blank = |variable: &Variable| variable.text.as_deref() == Some("");
        let blank = self.variables.iter().filter(|(_, text)| is_blank(text));
        blank.map(|(name, _)| name.clone()).collect()
    }

    /// Reads the settings given by `SOCKD_SECTION__KEY`.
    pub(super) fn own(&self, problems: &mut Problems) -> Vec<Given> {
        self.settings(|key| vec![key.variable()], problems)
    }

    /// Reads the settings given by familiar variables, except those that `own` decides: a variable that is
    /// overridden is not even parsed.
    pub(super) fn familiar(
        &self,
        own: &[Given],
        problems: &mut Problems,
        notes: &mut Vec<Problem>,
    ) -> Vec<Given> {
        let decides = |key: &Key| own.iter().any(|given| given.decides(key));
        let ignored = self.ignored_places(decides(&table::redis::url.key), notes);
        let names = |key: &Key| {
            let names = key.familiar.iter().filter(|name| !ignored.contains(name));
            let names = names.filter(|_| !decides(key));
            names.map(|name| (*name).to_owned()).collect()
        };
        self.settings(names, problems)
    }

    /// Returns the variables to ignore when both REDIS_URL and REDIS_HOST or REDIS_PORT are set.
    ///
    /// Many platforms set REDIS_URL for every program and the TypeScript server did not read it, so
    /// host and port win; except that the process environment always overrides `.env`.
    fn ignored_places(
        &self,
        is_decided: bool,
        notes: &mut Vec<Problem>,
    ) -> &'static [&'static str] {
        const BY_HOST: &[&str] = &["REDIS_PORT", "REDIS_HOST"];
        const BY_URL: &[&str] = &["REDIS_URL"];
        let Some((_, url)) = self.get(BY_URL[0]) else {
            return &[];
        };
        let hosts = BY_HOST.iter().filter_map(|name| self.get(name));
        let hosts = hosts.filter(|(text, _)| !is_service_link(text));
        // `max_by_key` returns the last of equals: the host rather than the port.
        let Some((_, host)) = hosts.max_by_key(|(_, origin)| origin.is_process()) else {
            return BY_HOST;
        };
        let (ignored, reason, names) = if url.is_process() && !host.is_process() {
            (host, url, BY_HOST)
        } else {
            (url, host, BY_URL)
        };
        if !is_decided {
            let found = format_args!("ignored, because {reason} is set");
            notes.push(Problem::new(ignored.place(), found, "unset one of them"));
        }
        names
    }

    /// Reads the first of each setting's names that is not blank; a secret's name and its `_FILE`
    /// count as one.
    fn settings(&self, names: impl Fn(&Key) -> Vec<String>, problems: &mut Problems) -> Vec<Given> {
        let mut settings = Vec::new();
        for key in SETTINGS.iter().copied().filter(|key| key.way != FILE) {
            let file = file_of(key);
            let mut file_names = file.map(&names).into_iter().flatten();
            for name in names(key) {
                let mut given = Vec::from_iter(self.read_variable(key, &name, problems));
                if let Some((file, name)) = file.zip(file_names.next()) {
                    given.extend(self.read_variable(file, &name, problems));
                }
                // The process environment overrides `.env` here too.
                if given.iter().any(|given| given.origin.is_process()) {
                    given.retain(|given| given.origin.is_process());
                }
                if !given.is_empty() {
                    settings.extend(given);
                    break;
                }
            }
        }
        settings
    }

    fn read_variable(
        &self,
        key: &'static Key,
        name: &str,
        problems: &mut Problems,
    ) -> Option<Given> {
        let Variable { text, origin } = self.variables.get(name)?;
        let refusal = match text {
            Some(text) if key.shape == Shape::Integer && is_service_link(text) => Refusal {
                found: format!("{text:?} is a service link that Kubernetes sets"),
                remedy: format!(
                    "set enableServiceLinks: false in the pod spec, or set {} to the port",
                    key.variable()
                ),
            },
            Some(text) => return key.take(Value::Text(text), origin.clone(), problems),
            None => Refusal {
                found: "not UTF-8".to_owned(),
                remedy: "set it again".to_owned(),
            },
        };
        Some(key.refuse(origin.clone(), refusal, problems))
    }

    /// Reports a `SOCKD_X__Y` that is not a setting, and warns of a `SOCKD_X_Y` that was meant as one.
    pub(super) fn check_names(&self, problems: &mut Problems, notes: &mut Vec<Problem>) {
        let known: BTreeSet<String> = SETTINGS.iter().map(|key| key.variable()).collect();
        for (name, Variable { text, origin }) in &self.variables {
            // Kubernetes sets a link for a Service called sockd-server.
            let is_link = text.as_deref().is_some_and(is_service_link);
            if !name.starts_with("SOCKD_") || known.contains(name) || is_link {
                continue;
            }
            if name.contains("__") {
                let remedy = nearest(name, known.iter()).map_or_else(
                    || "unset it, or see `sockd config show` for the keys".to_owned(),
                    |near| format!("did you mean {near}?"),
                );
                problems.add(origin.place(), "no such setting", remedy);
            }
            let one_too_few = |known: &&String| known.replace("__", "_") == *name;
            if let Some(meant) = known.iter().find(one_too_few) {
                let remedy = format_args!("did you mean {meant}, with two underscores?");
                notes.push(Problem::new(origin.place(), "not read", remedy));
            }
        }
    }
}

/// Whether the value is a service link such as `tcp://10.0.0.1:6379`
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn is_service_link(text: &str) -> bool {
    let schemes = ["tcp://", "udp://", "sctp://"];
    schemes.iter().any(|scheme| text.starts_with(scheme))
}

/// Reads `.env`; a folder of that name, such as a Python environment, is ignored.
fn read_dotenv(sources: &Sources, problems: &mut Problems) -> Vec<dotenv::Assignment> {
    let path = sources.directory.join(".env");
    match file::read(&path, file::LONGEST) {
        Ok(bytes) => dotenv::parse(&String::from_utf8_lossy(&bytes)),
        Err(error) => {
            let is_absent = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory);
            if !is_absent && !is_out_of_sight(&path) {
                let found = format_args!("cannot be read: {error}");
                problems.add(".env", found, "make it readable or remove it");
            }
            Vec::new()
        }
    }
}
