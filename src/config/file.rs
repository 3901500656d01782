//! `sockd.toml`: where it is, and the values in it, with the place of each.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    environment::Environment,
    kind::Value,
    problem::{Problem, Problems},
    setting::Given,
    source::{Origin, Sources, is_out_of_sight},
    table::{SETTINGS, find, nearest, nearest_path},
};
use crate::file::{LONGEST, read_text};

/// The configuration file that was found.
pub(super) struct File {
    /// As messages name it.
    pub(super) name: Arc<Path>,
    text: String,
}

impl File {
    /// Opens the file of `--config`, or else of SOCKD_CONFIG, or else `sockd.toml` in the working
    /// directory, or else the system's; only the first two must exist.
    ///
    /// # Errors
    /// A file that cannot be read, or is not UTF-8.
    pub(super) fn find(
        sources: &Sources,
        environment: &Environment,
    ) -> Result<Option<Self>, Problems> {
        let flag = sources.explicit_file.clone();
        let flag = flag.map(|path| ("flag --config".to_owned(), path));
        let variable = environment.get("SOCKD_CONFIG");
        let variable = variable.map(|(path, origin)| (origin.place(), PathBuf::from(path)));
        if let Some((given_by, path)) = flag.or(variable) {
            let found = Self::open(&sources.directory, &path)?;
            return found.map(Some).ok_or_else(|| {
                let found = format_args!("{path:?} not found");
                Problem::new(given_by, found, "create it or name another").into()
            });
        }
        let name = Path::new("sockd.toml");
        let found = if is_out_of_sight(&sources.directory.join(name)) {
            None
        } else {
            Self::open(&sources.directory, name)?
        };
        match found {
            Some(file) => Ok(Some(file)),
            None if sources.system_file.as_os_str().is_empty() => Ok(None),
            None => Self::open(&sources.directory, &sources.system_file),
        }
    }

    fn open(directory: &Path, name: &Path) -> Result<Option<Self>, Problems> {
        match read_text(&directory.join(name), LONGEST) {
            Ok(text) => Ok(Some(Self {
                name: name.into(),
                text,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let found = format_args!("cannot be read: {error}");
                Err(Problem::new(name.display(), found, "make it a readable text file").into())
            }
        }
    }

    /// Reads every setting in the file; unknown keys and wrong values become problems.
    ///
    /// # Errors
    /// A file that is not TOML.
    pub(super) fn read(&self, problems: &mut Problems) -> Result<Vec<Given>, Problems> {
        let document = DeTable::parse(&self.text).map_err(|error| {
            // The error's own display would show the line, and with it perhaps a secret.
            let at = self.origin(error.span().map_or(0, |span| span.start));
            let found = format_args!("not TOML: {}", error.message());
            Problem::new(at.place(), found, "correct it, see https://toml.io")
        })?;
        let mut given = Vec::new();
        for (name, value) in by_position(document.get_ref()) {
            let section = name.get_ref().as_ref();
            let origin = self.origin(name.span().start);
            let mut sections = SETTINGS.iter().map(|key| key.section);
            if !sections.clone().any(|known| known == section) {
                let near = nearest(section, &mut sections).or_else(|| nearest_path(section));
                unknown(&origin, section, near, problems);
                continue;
            }
            let DeValue::Table(table) = value.get_ref() else {
                let found = format_args!("{section} is a section");
                problems.add(origin.place(), found, format_args!("write [{section}]"));
                continue;
            };
            for (name, value) in by_position(table) {
                let path = format!("{section}.{}", name.get_ref());
                let origin = self.origin(name.span().start);
                match find(&path) {
                    Some(key) => {
                        given.extend(key.take(Value::Toml(value.get_ref()), origin, problems));
                    }
                    None => unknown(&origin, &path, nearest_path(&path), problems),
                }
            }
        }
        Ok(given)
    }

    /// The place of a byte: lines and columns are counted from 1, and columns in characters.
    fn origin(&self, byte: usize) -> Origin {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Origin::File {
            file: self.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

fn unknown(origin: &Origin, path: &str, near: Option<&str>, problems: &mut Problems) {
    let remedy = near.map_or_else(
        || "remove it, or see `sockd config show` for the keys".to_owned(),
        |near| format!("did you mean {near}?"),
    );
    problems.add(origin.place(), format_args!("unknown key {path}"), remedy);
}

/// Returns the entries in their order in the file; the parser sorts them by name.
fn by_position<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}
