//! One setting: its names, what one source gives for it, and the value that holds.

use std::fmt::Display;

use super::{
    kind::{Input, Kind, Shape},
    problem::{Problem, Problems},
    source::Origin,
};

/// What is known of a setting before any source is read.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// `section.name`.
    pub(super) path: &'static str,
    pub(super) shape: Shape,
    pub(super) fallback: Fallback,
    /// Its variables besides the `SOCKD_` one; the first that is not blank wins.
    pub(super) familiar: &'static [&'static str],
    /// One line: what it is, and why the default is what it is.
    pub(super) why: &'static str,
    /// What it decides, for itself or together with its rivals.
    pub(super) subject: &'static str,
    /// Which of several ways to decide the subject this is.
    pub(super) way: &'static str,
}

/// The way of a setting that names the file of a secret.
pub(super) const FILE: &str = "file";

/// What holds when no source gives a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    Is(&'static str),
    /// Holds when another setting says that Redis is used.
    WithRedis(&'static str),
    /// Nothing; the text is an example in TOML.
    Unset(&'static str),
}

impl Key {
    /// Its own variable: `SOCKD_SERVER__PORT`.
    pub(super) fn variable(&self) -> String {
        format!("SOCKD_{}__{}", self.section, self.name).to_uppercase()
    }

    /// The variable that a person would set: the familiar one if there is one.
    pub(super) fn familiar_variable(&self) -> String {
        let familiar = self.familiar.first().map(|name| (*name).to_owned());
        familiar.unwrap_or_else(|| self.variable())
    }

    /// Whether both say the same in different ways. A source may give one of them, and the way that
    /// a stronger source chooses makes the other void in a weaker one.
    pub(super) fn is_rival(&self, other: &Self) -> bool {
        self.subject == other.subject && self.way != other.way
    }

    /// A mistake in the value that a source gave.
    pub(super) fn problem(&self, origin: &Origin, text: impl Display) -> Problem {
        let path = self.path;
        Problem::at(origin.place(), format_args!("{path}: {text}"))
    }
}

/// A value that a source gives.
#[derive(Debug)]
pub(super) struct Given<T> {
    /// `None`: it could not be read, which is a problem already.
    value: Option<T>,
    pub(super) origin: Origin,
}

impl<T> Given<T> {
    /// Reads a value; a blank one changes nothing.
    ///
    /// # Errors
    /// Why it cannot be read; the setting counts as given all the same.
    pub(super) fn read(
        kind: &Kind<T>,
        input: Input<'_>,
        origin: &Origin,
        given: &mut Option<Self>,
    ) -> Result<(), String> {
        let (value, result) = match kind.read(input) {
            Ok(None) => return Ok(()),
            Ok(value) => (value, Ok(())),
            Err(text) => (None, Err(text)),
        };
        let origin = origin.clone();
        *given = Some(Self { value, origin });
        result
    }
}

/// The choice for a setting without a default.
pub(super) type Optional<T> = Choice<Option<T>>;

/// The value that holds for a setting.
#[derive(Debug, Clone)]
pub(super) struct Choice<T> {
    pub(super) key: &'static Key,
    /// The default, or `None`, if the value that was given could not be read.
    pub(super) value: T,
    pub(super) origin: Origin,
    /// For people, as a variable would give it.
    pub(super) shown: Option<String>,
}

impl<T> Optional<T> {
    /// Chooses what a source gave.
    pub(super) fn new(key: &'static Key, kind: &Kind<T>, given: Option<Given<T>>) -> Self {
        let unset = (None, Origin::Default);
        let (value, origin) = given.map_or(unset, |given| (given.value, given.origin));
        let invalid = (origin != Origin::Default).then(|| "(invalid)".to_owned());
        let shown = value.as_ref().map(kind.show).or(invalid);
        Self {
            key,
            value,
            origin,
            shown,
        }
    }

    /// Fills in the default.
    ///
    /// # Errors
    /// A default that is not of its own kind.
    pub(super) fn or_default(self, kind: &Kind<T>) -> Result<Choice<T>, Problem> {
        let Self {
            key, origin, shown, ..
        } = self;
        let (Fallback::Is(text) | Fallback::WithRedis(text) | Fallback::Unset(text)) = key.fallback;
        let value = match self.value {
            Some(value) => Ok(Some(value)),
            None => kind.read(Input::Text(text)),
        };
        let value = value.and_then(|value| value.ok_or_else(|| "a blank default".to_owned()));
        let value = value.map_err(|text| key.problem(&Origin::Default, text))?;
        let shown = shown.or_else(|| Some((kind.show)(&value)));
        Ok(Choice {
            key,
            value,
            origin,
            shown,
        })
    }
}

impl<T> Choice<T> {
    pub(super) fn is_given(&self) -> bool {
        self.origin != Origin::Default
    }

    /// Reports a mistake in the value, if a source gave it.
    pub(super) fn blame(&self, text: impl Display, problems: &mut Problems) {
        if self.is_given() {
            problems.add(self.key.problem(&self.origin, text));
        }
    }
}

/// Returns the known text within a few keystrokes of the unknown one.
pub(super) fn nearest<T: AsRef<str>>(unknown: &str, known: impl Iterator<Item = T>) -> Option<T> {
    let reach = (unknown.chars().count() / 3).clamp(1, 4);
    known
        .map(|name| (strsim::damerau_levenshtein(unknown, name.as_ref()), name))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
