//! One setting: its names, its default, and what a source gives for it; and the macro that makes
//! types of the table of settings, so that a setting is found by its name at compile time.

use super::{
    kind::{Kind, Read, Refusal, Shape, Value},
    problem::Problems,
    source::Origin,
};

/// A setting with values of type `T`, which is an `F` once the default is filled in.
pub(super) struct Setting<T, F> {
    pub(super) key: Key,
    pub(super) kind: Kind<T>,
    pub(super) settle: fn(Option<T>, &Kind<T>) -> F,
}

/// A setting without a default.
pub(super) type Optional<T> = Setting<T, Option<T>>;

/// What is known of a setting, whatever the type of its values.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// `section.name`.
    pub(super) path: &'static str,
    /// One line: what it is, and why the default is what it is.
    pub(super) why: &'static str,
    pub(super) shape: Shape,
    pub(super) fallback: Fallback,
    /// Its variables besides the `SOCKD_` one; the first that is not blank wins.
    pub(super) familiar: &'static [&'static str],
    /// What it decides, on its own or as one of several `way`s that exclude each other.
    pub(super) subject: &'static str,
    pub(super) way: &'static str,
    /// Reads a value; `None` for a blank one.
    pub(super) read: fn(Value<'_>) -> Result<Option<Read>, Refusal>,
}

/// The `way` of a setting that names the file of a secret.
pub(super) const FILE: &str = "file";

/// The value when no source gives one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fallback {
    Is(&'static str),
    /// The default if another setting says that Redis is used.
    WithRedis(&'static str),
    /// Nothing; the text is an example in TOML.
    Unset(&'static str),
}

impl Key {
    /// Its own variable: `SOCKD_SERVER__PORT`.
    pub(super) fn variable(&self) -> String {
        format!("SOCKD_{}__{}", self.section, self.name).to_uppercase()
    }

    /// The variable to suggest: the familiar one if there is one.
    pub(super) fn familiar_variable(&self) -> String {
        let familiar = self.familiar.first().map(|name| (*name).to_owned());
        familiar.unwrap_or_else(|| self.variable())
    }

    /// Whether both decide the same in different ways. A source may give only one of them, and the way that
    /// a stronger source chooses overrides the other in a weaker one.
    pub(super) fn is_rival(&self, other: &Self) -> bool {
        self.subject == other.subject && self.way != other.way
    }

    /// The default as it is shown.
    pub(super) fn default(&self) -> Option<String> {
        match self.fallback {
            Fallback::Is(text) | Fallback::WithRedis(text) => {
                let read = (self.read)(Value::Text(text)).ok()??;
                Some(read.shown)
            }
            Fallback::Unset(_) => None,
        }
    }

    /// Takes what a source gives; a blank value changes nothing.
    pub(super) fn take(
        &'static self,
        value: Value<'_>,
        origin: Origin,
        problems: &mut Problems,
    ) -> Option<Given> {
        let key = self;
        Some(match (self.read)(value) {
            Ok(read) => {
                let read = read?;
                Given { key, read, origin }
            }
            Err(refusal) => self.refuse(origin, refusal, problems),
        })
    }

    /// Reports a value that cannot be read; the setting counts as given all the same.
    pub(super) fn refuse(
        &'static self,
        origin: Origin,
        Refusal { found, remedy }: Refusal,
        problems: &mut Problems,
    ) -> Given {
        let read = Read {
            value: None,
            shown: "(invalid)".to_owned(),
        };
        let key = self;
        let given = Given { key, read, origin };
        problems.add(given.place(), found, remedy);
        given
    }
}

/// What a source gives for a setting.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) key: &'static Key,
    pub(super) read: Read,
    pub(super) origin: Origin,
}

impl Given {
    /// The place in the source, and the setting, for problems.
    pub(super) fn place(&self) -> String {
        format!("{}: {}", self.origin.place(), self.key.path)
    }

    /// Returns the value; `None` if it could not be read, or is of another type.
    pub(super) fn value<T: Clone + 'static>(&self) -> Option<T> {
        self.read.value.as_ref()?.downcast_ref().cloned()
    }

    /// Whether the value could not be read.
    pub(super) fn is_wrong(&self) -> bool {
        self.read.value.is_none()
    }

    /// Whether this decides what the setting would decide.
    pub(super) fn decides(&self, key: &Key) -> bool {
        self.key.path == key.path || self.key.is_rival(key)
    }
}

/// Defines `SETTINGS`, the keys of all settings in order, and of each section:
/// - a module with a `Setting` for every entry, called as in the file;
/// - with `as Section`, the type of that name that the process uses, with a field for every entry.
macro_rules! settings {
    ($($section:ident $(as $Section:ident)? {$(
        $(#[doc = $why:literal])* $name:ident: $T:ty = $kind:expr, $fallback:ident($text:literal)
        $(, also [$($familiar:literal),*])? $(, file of $secret:ident)? $(, decides($subject:expr, $way:expr))?;
    )*})*) => {
        pub(super) static SETTINGS: &[&Key] = &[$($(&$section::$name.key),*),*];

        $(#[expect(non_upper_case_globals, reason = "a setting is called as in the file")]
        pub(super) mod $section {
            use super::*;
            use crate::config::setting::{field, first, settle};

            $(pub(in crate::config) static $name: Setting<$T, field!($fallback, $T)> = Setting {
                key: Key {
                    section: stringify!($section),
                    name: stringify!($name),
                    path: concat!(stringify!($section), ".", stringify!($name)),
                    why: concat!($($why),*),
                    shape: {
                        const KIND: Kind<$T> = $kind;
                        KIND.shape
                    },
                    fallback: Fallback::$fallback($text),
                    familiar: &[$($($familiar),*)?],
                    subject: first!($($secret.key.path,)? $($subject,)? concat!(stringify!($section), ".", stringify!($name)),),
                    way: first!($(crate::config::setting::way!(file of $secret),)? $($way,)? "",),
                    read: |value| $name.kind.read(value),
                },
                kind: $kind,
                settle: settle!($fallback, $text),
            };)*
        })*

        $(crate::config::setting::section!([$($Section)?] $section {
            $($(#[doc = $why])* $name: $T, $fallback),*
        });)*
    };
}

macro_rules! section {
    ([] $($entries:tt)*) => {};
    ([$Section:ident] $section:ident {
        $($(#[doc = $why:literal])* $name:ident: $T:ty, $fallback:ident),*
    }) => {
        #[derive(Debug, Clone)]
        pub struct $Section {$(
            $(#[doc = $why])*
            pub $name: crate::config::setting::field!($fallback, $T),
        )*}

        impl $Section {
            pub(super) fn of(settings: &Settings) -> Self {
                Self { $($name: settings.get(&$section::$name)),* }
            }
        }
    };
}

/// The type of a value once the default is filled in.
macro_rules! field {
    (Unset, $T:ty) => { Option<$T> };
    ($with_default:ident, $T:ty) => { $T };
}

/// Fills in the default.
macro_rules! settle {
    (Unset, $example:literal) => {
        |value, _| value
    };
    ($with_default:ident, $text:literal) => {
        |value, kind| value.unwrap_or_else(|| kind.default($text))
    };
}

macro_rules! first {
    ($first:expr, $($others:expr,)*) => {
        $first
    };
}

macro_rules! way {
    (file of $secret:ident) => {
        FILE
    };
}

pub(super) use {field, first, section, settings, settle, way};
