//! Secrets, and the files that hold them.

use std::{fs, io, path::PathBuf};

use super::{
    key::{Choice, Optional},
    problem::{Problem, Problems},
    settings::Settings,
};
use crate::secret::Secret;

impl Settings {
    /// Returns the secret and those that it replaces, each given or in a file. A missing secret is a
    /// problem.
    pub(super) fn secrets(
        &self,
        (secret, file): (&Optional<Secret>, &Optional<String>),
        (previous, files): (&Optional<Vec<Secret>>, &Optional<Vec<String>>),
        problems: &mut Problems,
    ) -> Vec<Secret> {
        let found = self.secret(secret, file, problems);
        if !secret.is_given() && !file.is_given() {
            problems.add(self.missing(secret, file));
        }
        let previous = previous.value.clone().unwrap_or_else(|| {
            let remedy = "create it or take it off the list";
            let paths = files.value.iter().flatten();
            let secrets = paths.filter_map(|path| self.secret_in(files, path, remedy, problems));
            secrets.collect()
        });
        found.into_iter().chain(previous).collect()
    }

    /// Returns the secret, or the one in the file.
    pub(super) fn secret(
        &self,
        secret: &Optional<Secret>,
        file: &Optional<String>,
        problems: &mut Problems,
    ) -> Option<Secret> {
        secret.value.clone().or_else(|| {
            let remedy = format!("create it or set {}", secret.key.familiar_variable());
            self.secret_in(file, file.value.as_ref()?, &remedy, problems)
        })
    }

    /// Returns the absolute path of a file that must exist, such as a certificate.
    pub(super) fn path(&self, file: &Optional<String>, problems: &mut Problems) -> Option<PathBuf> {
        let text = file.value.as_ref()?;
        let path = self.base(&file.origin).join(text);
        if let Err(error) = fs::File::open(&path) {
            file.blame(
                unreadable(text, &error, "create it or leave the key out"),
                problems,
            );
        }
        Some(path)
    }

    fn secret_in<T>(
        &self,
        file: &Choice<T>,
        path: &str,
        remedy: &str,
        problems: &mut Problems,
    ) -> Option<Secret> {
        match fs::read_to_string(self.base(&file.origin).join(path)) {
            Ok(mut text) => {
                let line = text.strip_suffix('\n').unwrap_or(&text);
                let length = line.strip_suffix('\r').unwrap_or(line).len();
                text.truncate(length);
                if !text.is_empty() {
                    return Some(Secret::new(text));
                }
                file.blame(
                    format_args!("{path:?} is empty; write the secret into it"),
                    problems,
                );
            }
            Err(error) => file.blame(unreadable(path, &error, remedy), problems),
        }
        None
    }

    fn missing<T, U>(&self, secret: &Choice<T>, file: &Choice<U>) -> Problem {
        let names = secret.key.familiar;
        let blank: Vec<_> = names
            .iter()
            .copied()
            .filter(|name| self.blank.contains(*name))
            .collect();
        let blank = match blank.as_slice() {
            [] => String::new(),
            names => format!(" ({} is there but empty)", names.join(", ")),
        };
        let variables = match names {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            _ => secret.key.familiar_variable(),
        };
        let text = format_args!(
            "not set{blank}; set {variables}, for example to what `openssl rand -hex 32` prints, \
             or {} to a file that holds it",
            file.key.path
        );
        Problem::at(secret.key.path, text)
    }
}

fn unreadable(path: &str, error: &io::Error, remedy: &str) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{path:?} not found; {remedy}"),
        _ => format!("{path:?} cannot be read: {error}; make it a text that sockd may read"),
    }
}
