//! `sockd.toml`: finding it, and reading it with the place of every key.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    environment::Environment,
    keys::{SETTINGS, Setting, nearest, nearest_key},
    kind::Value,
    problem::{Problem, Problems},
    settings::{Given, Layer},
    source::{Origin, Sources},
};

/// A file that was found and read.
pub(super) struct File {
    /// As messages name it.
    pub(super) name: Arc<Path>,
    text: String,
}

impl File {
    /// Reads the file of `--config`, else of SOCKD_CONFIG, else `sockd.toml` here, else the
    /// system's; only the first two must exist.
    ///
    /// # Errors
    /// A file that cannot be read, or is not UTF-8.
    pub(super) fn find(
        sources: &Sources,
        environment: &Environment,
    ) -> Result<Option<Self>, Problem> {
        let chosen = environment.text("SOCKD_CONFIG").map(PathBuf::from);
        let explicit = match (&sources.explicit_file, chosen) {
            (Some(path), _) => Some(("flag --config", path.clone())),
            (None, Some(path)) => Some(("environment SOCKD_CONFIG", path)),
            (None, None) => None,
        };
        if let Some((given_by, path)) = explicit {
            let found = Self::read(&sources.directory, &path)?;
            return found.map(Some).ok_or_else(|| {
                let text = format_args!("{path:?} not found; create it or name another");
                Problem::at(given_by, text)
            });
        }
        match Self::read(&sources.directory, Path::new("sockd.toml"))? {
            Some(file) => Ok(Some(file)),
            None if sources.system_file.as_os_str().is_empty() => Ok(None),
            None => Self::read(&sources.directory, &sources.system_file),
        }
    }

    fn read(directory: &Path, name: &Path) -> Result<Option<Self>, Problem> {
        match fs::read_to_string(directory.join(name)) {
            Ok(text) => Ok(Some(Self {
                name: name.into(),
                text,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let text = format_args!("cannot be read: {error}; make it a readable text file");
                Err(Problem::at(name.display(), text))
            }
        }
    }

    /// Every setting in the file; what is unknown or wrong becomes a problem.
    ///
    /// # Errors
    /// A file that is not TOML.
    pub(super) fn layer(&self, problems: &mut Problems) -> Result<Layer, Problem> {
        let document = DeTable::parse(&self.text).map_err(|error| {
            // The error's own display would show the line, and with it perhaps a secret.
            let (line, column) = self.position(error.span().map_or(0, |span| span.start));
            let place = format!("{}:{line}:{column}", self.name.display());
            Problem::at(place, format_args!("not TOML: {}", error.message()))
        })?;
        let mut layer = Layer::default();
        for (name, value) in by_position(document.get_ref()) {
            let is_section = SETTINGS
                .iter()
                .any(|setting| setting.section() == name.get_ref());
            match value.get_ref() {
                DeValue::Table(table) if is_section => {
                    self.section(name.get_ref(), table, &mut layer, problems);
                }
                _ => problems.add(self.unknown_section(name, is_section)),
            }
        }
        Ok(layer)
    }

    fn section(
        &self,
        section: &str,
        table: &DeTable<'_>,
        layer: &mut Layer,
        problems: &mut Problems,
    ) {
        for (name, value) in by_position(table) {
            let key = format!("{section}.{}", name.get_ref());
            let origin = self.origin(name);
            let Some(setting) = Setting::find(&key) else {
                let remedy = nearest_key(&key).map_or_else(
                    || "remove it, or see `sockd config show` for the keys".to_owned(),
                    |near| format!("did you mean {near}?"),
                );
                let text = format_args!("unknown key {key}; {remedy}");
                problems.add(Problem::at(origin.place(), text));
                continue;
            };
            let value = setting
                .kind
                .read_toml(value.get_ref())
                .unwrap_or_else(|text| {
                    problems.add(Problem::of(setting, &origin, text));
                    Some(Value::Invalid)
                });
            if let Some(value) = value {
                layer.insert(setting, Given { value, origin });
            }
        }
    }

    fn unknown_section(&self, name: &Spanned<DeString<'_>>, is_section: bool) -> Problem {
        let place = self.origin(name).place();
        let name = name.get_ref();
        if is_section {
            return Problem::at(place, format_args!("{name} is a section; write [{name}]"));
        }
        let sections = SETTINGS.iter().map(Setting::section);
        let near = nearest(name, sections).or_else(|| nearest_key(name));
        let remedy = near.map_or_else(
            || "remove it, or see `sockd config show` for the keys".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        Problem::at(place, format_args!("unknown key {name}; {remedy}"))
    }

    fn origin(&self, name: &Spanned<DeString<'_>>) -> Origin {
        let (line, column) = self.position(name.span().start);
        Origin::File {
            file: self.name.clone(),
            line,
            column,
        }
    }

    /// Line and column of a byte, both counted from 1, columns in characters.
    fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}

/// The entries as they stand in the file; the parser sorts them by name.
fn by_position<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}
