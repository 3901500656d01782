//! The process environment, which overrides `.env`: which variable gives which setting.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    io::ErrorKind,
};

use super::{
    dotenv,
    key::{FILE, Key, nearest},
    kind::{Input, Shape},
    problem::{Problem, Problems},
    source::{Origin, Sources},
    table::{Raw, SETTINGS, Setting, setting},
};

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
        for assignment in read_dotenv(sources, problems) {
            let origin = Origin::DotEnv {
                name: assignment.name.clone(),
                line: assignment.line,
            };
            // What bytes that are not UTF-8 were replaced with.
            let text = Some(assignment.value).filter(|text| !text.contains('\u{fffd}'));
            variables.insert(assignment.name, Variable { text, origin });
        }
        for (name, value) in &sources.env {
            let origin = Origin::Environment { name: name.clone() };
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

    /// Reads the settings given by `SOCKD_SECTION__KEY`.
    pub(super) fn own(&self, problems: &mut Problems) -> Raw {
        let mut raw = Raw::default();
        for setting in SETTINGS {
            self.read_names(&mut raw, setting, |key| vec![key.variable()], problems);
        }
        raw
    }

    /// Reads the settings given by familiar variables, except those that `own` decides: a variable
    /// that is overruled is not even looked at.
    pub(super) fn familiar(
        &self,
        own: &Raw,
        problems: &mut Problems,
        notes: &mut Vec<String>,
    ) -> Raw {
        let ignored = self.ignored_places(own, notes);
        let names = |key: &Key| {
            let names = key.familiar.iter().filter(|name| !ignored.contains(name));
            names.map(|name| (*name).to_owned()).collect()
        };
        let mut raw = Raw::default();
        for setting in SETTINGS.iter().filter(|setting| !own.decides(&setting.key)) {
            self.read_names(&mut raw, setting, names, problems);
        }
        raw
    }

    /// Returns the variables to ignore when both REDIS_URL and REDIS_HOST or REDIS_PORT are set.
    ///
    /// Many platforms set REDIS_URL for every program and the TypeScript server did not read it, so
    /// host and port win; except that the process environment always overrides `.env`.
    fn ignored_places(&self, own: &Raw, notes: &mut Vec<String>) -> &'static [&'static str] {
        const BY_HOST: &[&str] = &["REDIS_PORT", "REDIS_HOST"];
        const BY_URL: &[&str] = &["REDIS_URL"];
        let get = |name: &&str| self.get(name);
        let Some((_, url)) = BY_URL.iter().find_map(get) else {
            return &[];
        };
        // `max_by_key` returns the last of equals: the host rather than the port.
        let host = BY_HOST
            .iter()
            .filter_map(get)
            .filter(|(text, _)| !is_service_link(text))
            .max_by_key(|(_, origin)| origin.is_process());
        let Some((_, host)) = host else {
            return BY_HOST;
        };
        let (ignored, reason, names) = if url.is_process() && !host.is_process() {
            (host, url, BY_HOST)
        } else {
            (url, host, BY_URL)
        };
        if !own.decides(&setting::redis::url::SETTING.key) {
            notes.push(format!(
                "{}: ignored, because {reason} is set; unset one of them",
                ignored.place()
            ));
        }
        names
    }

    /// Returns the names of variables that are set to an empty text.
    pub(super) fn blank(&self) -> impl Iterator<Item = &String> {
        let is_blank = |variable: &Variable| variable.text.as_deref() == Some("");
        let variables = self.variables.iter();
        variables.filter_map(move |(name, variable)| is_blank(variable).then_some(name))
    }

    /// Reads the first name that is not blank; a secret's name and its `_FILE` count as one.
    fn read_names(
        &self,
        raw: &mut Raw,
        setting: &'static Setting,
        names: impl Fn(&Key) -> Vec<String>,
        problems: &mut Problems,
    ) {
        if setting.key.way == FILE {
            return;
        }
        let file = setting.file();
        let mut file_names = file.map(|file| names(&file.key)).into_iter().flatten();
        for name in names(&setting.key) {
            let mut given = Raw::default();
            self.read_variable(&mut given, setting, &name, problems);
            if let Some((file, name)) = file.zip(file_names.next()) {
                self.read_variable(&mut given, file, &name, problems);
            }
            // The process environment overrides `.env` here too.
            let by_process = given.given().any(|(_, origin)| origin.is_process());
            let winners = given
                .given()
                .filter(|(_, origin)| origin.is_process() == by_process);
            let winners: Vec<_> = winners.map(|(setting, _)| setting).collect();
            for setting in &winners {
                raw.take(setting, &mut given);
            }
            if !winners.is_empty() {
                return;
            }
        }
    }

    fn read_variable(&self, raw: &mut Raw, setting: &Setting, name: &str, problems: &mut Problems) {
        let Some(Variable { text, origin }) = self.variables.get(name) else {
            return;
        };
        let service_link;
        let input = match text {
            Some(text) if setting.key.shape == Shape::Integer && is_service_link(text) => {
                service_link = format!(
                    "{text:?} is a service link that Kubernetes sets; set \
                     enableServiceLinks: false in the pod spec, or set {} to the port",
                    setting.key.variable()
                );
                Input::Unreadable(&service_link)
            }
            Some(text) => Input::Text(text),
            None => Input::Unreadable("not UTF-8; set it again"),
        };
        raw.read(setting, input, origin, problems);
    }

    /// Reports a `SOCKD_X__Y` that is no setting, and warns of a `SOCKD_X_Y` that was meant as one.
    pub(super) fn check_names(&self, problems: &mut Problems, notes: &mut Vec<String>) {
        let known: BTreeSet<String> = SETTINGS
            .iter()
            .map(|setting| setting.key.variable())
            .collect();
        for (name, variable) in &self.variables {
            if !name.starts_with("SOCKD_") || known.contains(name) {
                continue;
            }
            // Kubernetes sets this for a Service called sockd-server.
            if variable.text.as_deref().is_some_and(is_service_link) {
                continue;
            }
            if name.contains("__") {
                let remedy = nearest(name, known.iter()).map_or_else(
                    || "unset it, or see `sockd config show` for the keys".to_owned(),
                    |near| format!("did you mean {near}?"),
                );
                problems.add(Problem::at(
                    variable.origin.place(),
                    format_args!("no such setting; {remedy}"),
                ));
            } else if let Some(meant) = known.iter().find(|known| known.replace("__", "_") == *name)
            {
                notes.push(format!(
                    "{}: not read; did you mean {meant}, with two underscores?",
                    variable.origin.place()
                ));
            }
        }
    }
}

/// Whether the value is a service link such as `tcp://10.0.0.1:6379`
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn is_service_link(text: &str) -> bool {
    ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
}

/// Reads `.env`; a folder of that name, such as a Python environment, is ignored.
fn read_dotenv(sources: &Sources, problems: &mut Problems) -> Vec<dotenv::Assignment> {
    match fs::read(sources.directory.join(".env")) {
        Ok(bytes) => dotenv::parse(&String::from_utf8_lossy(&bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
            Vec::new()
        }
        Err(error) => {
            let text = format_args!("cannot be read: {error}; make it readable or remove it");
            problems.add(Problem::at(".env", text));
            Vec::new()
        }
    }
}
