//! The process environment over `.env`: which variable gives which setting.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    io::ErrorKind,
};

use super::{
    dotenv,
    keys::SETTINGS,
    kind::{Kind, Value},
    problem::{Problem, Problems},
    setting::{Setting, nearest},
    settings::{Given, Layer},
    source::{Origin, Sources},
};

/// Every variable by name; of a name in both places, the process's counts even if it is blank.
pub(super) struct Environment {
    variables: BTreeMap<String, Variable>,
}

struct Variable {
    /// `None`: not UTF-8.
    text: Option<String>,
    origin: Origin,
}

impl Variable {
    fn is_blank(&self) -> bool {
        self.text.as_ref().is_some_and(String::is_empty)
    }
}

impl Environment {
    pub(super) fn read(sources: &Sources, problems: &mut Problems) -> Self {
        let mut variables = BTreeMap::new();
        for assignment in read_dotenv(sources, problems) {
            let origin = Origin::DotEnv {
                name: assignment.name.clone(),
                line: assignment.line,
            };
            // What stood for a byte that is no UTF-8.
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

    /// A variable that is no setting, and where it was read; blank is absent.
    pub(super) fn get(&self, name: &str) -> Option<(&str, &Origin)> {
        let variable = self.variables.get(name)?;
        let text = variable.text.as_deref()?;
        (!text.trim().is_empty()).then_some((text, &variable.origin))
    }

    /// The settings given by `SOCKD_SECTION__KEY`.
    pub(super) fn own(&self, problems: &mut Problems) -> Layer {
        let mut layer = Layer::default();
        for setting in SETTINGS {
            self.give(
                &mut layer,
                setting,
                |setting| vec![setting.variable()],
                problems,
            );
        }
        layer
    }

    /// The settings given by the familiar variables, but for those that `own` decides: what is
    /// overruled is not even looked at.
    pub(super) fn legacy(
        &self,
        own: &Layer,
        problems: &mut Problems,
        notes: &mut Vec<String>,
    ) -> Layer {
        let unread = self.unread_place(own, notes);
        let familiar = |setting: &Setting| {
            setting
                .legacy
                .iter()
                .map(|name| (*name).to_owned())
                .collect()
        };
        let mut layer = Layer::default();
        let is_read = |setting: &&Setting| !own.decides(setting) && !unread.contains(&setting.key);
        for setting in SETTINGS.iter().filter(is_read) {
            self.give(&mut layer, setting, familiar, problems);
        }
        layer
    }

    /// Returns the settings to ignore when both REDIS_URL and REDIS_HOST or REDIS_PORT are set.
    ///
    /// Many platforms set REDIS_URL for every program and the TypeScript server did not read it, so
    /// host and port win; except that the process environment always overrides `.env`.
    fn unread_place(&self, own: &Layer, notes: &mut Vec<String>) -> &'static [&'static str] {
        // `max_by_key` returns the last of equals: the host rather than the port.
        let by_host = ["REDIS_PORT", "REDIS_HOST"]
            .into_iter()
            .filter_map(|name| self.get(name))
            .filter(|(text, _)| !is_service_link(text))
            .max_by_key(|(_, origin)| origin.is_process());
        let (Some((_, by_host)), Some((_, by_url))) = (by_host, self.get("REDIS_URL")) else {
            return if self.get("REDIS_URL").is_some() {
                &["redis.host", "redis.port"]
            } else {
                &[]
            };
        };
        let (unread, reason, keys): (_, _, &[_]) = if by_url.is_process() && !by_host.is_process() {
            (by_host, by_url, &["redis.host", "redis.port"])
        } else {
            (by_url, by_host, &["redis.url"])
        };
        let is_decided = Setting::find("redis.url").is_some_and(|setting| own.decides(setting));
        if !is_decided {
            notes.push(format!(
                "{}: ignored, because {reason} is set; unset one of them",
                unread.place()
            ));
        }
        keys
    }

    /// The names of variables of the setting that are there and blank.
    pub(super) fn blank<'a>(&'a self, setting: &'a Setting) -> impl Iterator<Item = &'a str> {
        let names = setting.legacy.iter().copied();
        names.filter(|name| self.variables.get(*name).is_some_and(Variable::is_blank))
    }

    /// Takes the first name that is not blank; a secret's name and its `_FILE` count as one.
    fn give(
        &self,
        layer: &mut Layer,
        setting: &'static Setting,
        names: fn(&Setting) -> Vec<String>,
        problems: &mut Problems,
    ) {
        if matches!(setting.kind, Kind::SecretFile | Kind::SecretFiles) {
            return;
        }
        let file = setting.file();
        let file_names = file.map(names).unwrap_or_default();
        let found = names(setting).iter().enumerate().find_map(|(index, name)| {
            let value = self.given(setting, name, problems);
            let file = file.zip(file_names.get(index));
            let file =
                file.and_then(|(file, name)| Some((file, self.given(file, name, problems)?)));
            (value.is_some() || file.is_some()).then_some((value, file))
        });
        let Some((value, file)) = found else { return };
        let is_process = |given: &Given| given.origin.is_process();
        match (value, file) {
            // The process environment goes over `.env` here too.
            (Some(value), Some((_, file))) if is_process(&value) && !is_process(&file) => {
                layer.insert(setting, value);
            }
            (Some(value), Some((key, file))) if !is_process(&value) && is_process(&file) => {
                layer.insert(key, file);
            }
            (value, file) => {
                if let Some(value) = value {
                    layer.insert(setting, value);
                }
                if let Some((key, file)) = file {
                    layer.insert(key, file);
                }
            }
        }
    }

    fn given(&self, setting: &Setting, name: &str, problems: &mut Problems) -> Option<Given> {
        let Variable { text, origin } = self.variables.get(name)?;
        let read = match text {
            Some(text) if matches!(setting.kind, Kind::Number { .. }) && is_service_link(text) => {
                Err(format!(
                    "{text:?} is a service link that Kubernetes sets; set \
                     enableServiceLinks: false in the pod spec, or set {} to the port",
                    setting.variable()
                ))
            }
            Some(text) => setting.kind.read_text(text),
            None => Err("not UTF-8; set it again".to_owned()),
        };
        let value = read.unwrap_or_else(|text| {
            problems.add(Problem::of(setting, origin, text));
            Some(Value::Invalid)
        })?;
        Some(Given {
            value,
            origin: origin.clone(),
        })
    }

    /// Reports `SOCKD_X__Y` that is no setting, and notes `SOCKD_X_Y` that was meant to be one.
    pub(super) fn check_names(&self, problems: &mut Problems, notes: &mut Vec<String>) {
        let known: BTreeSet<String> = SETTINGS.iter().map(Setting::variable).collect();
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

/// Reads `.env`; a folder of that name is somebody else's.
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
