//! Secrets and the files that hold them.

use std::{fs, io, path::PathBuf};

use super::{
    keys::Setting,
    kind::Value,
    problem::{Problem, Problems},
    settings::{Given, Settings},
};
use crate::secret::Secret;

impl Settings {
    /// The secret of a section and those it replaces; without the first there is a problem.
    pub(super) fn secrets(&self, section: &str, problems: &mut Problems) -> Vec<Secret> {
        let key = format!("{section}.secret");
        let secret = self.secret(&key, problems);
        let setting = known(&key);
        let is_given = self.given(&key).is_some()
            || setting
                .file()
                .is_some_and(|file| self.given(file.key).is_some());
        if !is_given {
            problems.add(self.missing(setting));
        }
        let previous = self.previous_secrets(&format!("{section}.previous_secrets"), problems);
        secret.into_iter().chain(previous).collect()
    }

    /// The secret of that key, or of its file.
    pub(super) fn secret(&self, key: &str, problems: &mut Problems) -> Option<Secret> {
        if let Some(Value::Secret(secret)) = self.given(key).map(|given| &given.value) {
            return Some(secret.clone());
        }
        let file = known(key).file()?;
        let given = self.given(file.key)?;
        let Value::Text(path) = &given.value else {
            return None;
        };
        let remedy = format!("create it or set {}", known(key).familiar_variable());
        self.secret_of(file, given, path, &remedy, problems)
    }

    /// A file that must be there, such as a certificate; its path is made absolute.
    pub(super) fn path(&self, key: &str, problems: &mut Problems) -> Option<PathBuf> {
        let given = self.given(key)?;
        let Value::Text(text) = &given.value else {
            return None;
        };
        let path = self.base(&given.origin).join(text);
        if let Err(error) = fs::File::open(&path) {
            let text = unreadable(text, &error, "create it or leave the key out");
            problems.add(Problem::of(known(key), &given.origin, text));
        }
        Some(path)
    }

    fn previous_secrets(&self, key: &str, problems: &mut Problems) -> Vec<Secret> {
        if let Some(Value::Secrets(secrets)) = self.given(key).map(|given| &given.value) {
            return secrets.clone();
        }
        let Some(file) = known(key).file() else {
            return Vec::new();
        };
        let Some(given) = self.given(file.key) else {
            return Vec::new();
        };
        let Value::List(paths) = &given.value else {
            return Vec::new();
        };
        let remedy = "create it or take it off the list";
        let read = |path: &String| self.secret_of(file, given, path, remedy, problems);
        paths.iter().filter_map(read).collect()
    }

    fn secret_of(
        &self,
        setting: &Setting,
        given: &Given,
        path: &str,
        remedy: &str,
        problems: &mut Problems,
    ) -> Option<Secret> {
        let mut problem = |text: String| {
            problems.add(Problem::of(setting, &given.origin, text));
            None
        };
        match fs::read_to_string(self.base(&given.origin).join(path)) {
            Ok(mut text) => {
                let line = text.strip_suffix('\n').unwrap_or(&text);
                let length = line.strip_suffix('\r').unwrap_or(line).len();
                text.truncate(length);
                if text.is_empty() {
                    return problem(format!("{path:?} is empty; write the secret into it"));
                }
                Some(Secret::new(text))
            }
            Err(error) => problem(unreadable(path, &error, remedy)),
        }
    }

    fn missing(&self, setting: &Setting) -> Problem {
        let (last, first) = setting.legacy.split_last().unwrap_or((&"", &[]));
        let variables = if first.is_empty() {
            (*last).to_owned()
        } else {
            format!("{} or {last}", first.join(", "))
        };
        let blank = match self.blank(setting.key) {
            [] => String::new(),
            names => format!(" ({} is there but empty)", names.join(", ")),
        };
        let text = format!(
            "not set{blank}; set {variables}, for example to what `openssl rand -hex 32` prints, \
             or {}_file to a file that holds it",
            setting.key
        );
        Problem::at(setting.key, text)
    }
}

fn known(key: &str) -> &'static Setting {
    Setting::find(key).unwrap_or_else(|| unreachable!("{key} is in the table"))
}

fn unreadable(path: &str, error: &io::Error, remedy: &str) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{path:?} not found; {remedy}"),
        _ => format!("{path:?} cannot be read: {error}; make it a text that sockd may read"),
    }
}
