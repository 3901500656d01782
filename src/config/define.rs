//! Makes types of the table of settings, so that every setting is a field.

/// Defines, in the module of the table:
/// - `SETTINGS`, all settings in order, and `setting::section::name::SETTING`, each by its name;
/// - `Raw`, what sources give: a section is a struct, a setting is a field, and all are optional;
/// - `Chosen`, the values that hold: the same, but only settings without a default are optional.
macro_rules! settings {
    ($($section:ident: $Section:ident {$(
        $(#[doc = $why:literal])* $name:ident: $T:ty = $kind:expr, $fallback:ident($text:literal)
        $(, also [$($familiar:literal),*])? $(, file of $secret:ident)? $(, decides($subject:expr, $way:expr))?;
    )*})*) => {
        pub(super) static SETTINGS: &[&Setting] = &[$($(&setting::$section::$name::SETTING),*),*];

        pub(super) mod setting {$(pub(crate) mod $section {$(pub(crate) mod $name {
            use crate::config::{define::{either, way}, table::*};

            pub(crate) static SETTING: Setting = Setting {
                key: Key {
                    section: stringify!($section),
                    name: stringify!($name),
                    path: concat!(stringify!($section), ".", stringify!($name)),
                    shape: {
                        const KIND: Kind<$T> = $kind;
                        KIND.shape
                    },
                    fallback: Fallback::$fallback($text),
                    familiar: &[$($($familiar),*)?],
                    why: concat!($($why),*),
                    subject: either!($(super::$secret::SETTING.key.path)? $($subject)?, concat!(stringify!($section), ".", stringify!($name))),
                    way: way!($(file of $secret)? $($way)?),
                },
                origin: |raw| raw.$section.$name.as_ref().map(|given| &given.origin),
                read: |raw, input, origin| Given::read(&$kind, input, origin, &mut raw.$section.$name),
                move_to: |from, to| to.$section.$name = from.$section.$name.take(),
            };
        })*})*}

        /// What one source gives, or several together.
        #[derive(Debug, Default)]
        pub(super) struct Raw { $($section: raw::$Section),* }

        mod raw {
            use super::*;
            $(#[derive(Debug, Default)]
            pub(super) struct $Section { $(pub(super) $name: Option<Given<$T>>),* })*
        }

        /// The values that hold, whatever the sources give.
        #[derive(Debug, Clone)]
        pub(super) struct Chosen { $(pub(super) $section: chosen::$Section),* }

        pub(super) mod chosen {
            use super::*;
            $(#[derive(Debug, Clone)]
            pub(crate) struct $Section {
                $(pub(crate) $name: crate::config::define::chosen_type!($fallback, $T)),*
            })*
        }

        impl Chosen {
            /// Fills in the defaults.
            ///
            /// # Errors
            /// A default that is not of its own kind.
            pub(super) fn new(raw: Raw) -> Result<Self, Problem> {
                Ok(Self {$(
                    $section: chosen::$Section {$(
                        $name: crate::config::define::choose!(
                            $fallback, &setting::$section::$name::SETTING.key, &$kind, raw.$section.$name
                        )
                    ,)*}
                ),*})
            }

            /// Visits every setting with its value as people see it, and the origin.
            pub(super) fn each(&self, mut visit: impl FnMut(&'static Key, Option<&str>, &Origin)) {
                $($({
                    let Choice { key, shown, origin, .. } = &self.$section.$name;
                    visit(key, shown.as_deref(), origin);
                })*)*
            }
        }
    };
}

/// What is given, or else the other.
macro_rules! either {
    ($given:expr, $otherwise:expr) => {
        $given
    };
    (, $otherwise:expr) => {
        $otherwise
    };
}

macro_rules! way {
    () => {
        ""
    };
    (file of $secret:ident) => {
        FILE
    };
    ($way:expr) => {
        $way
    };
}

macro_rules! chosen_type {
    (Unset, $T:ty) => { crate::config::key::Optional<$T> };
    ($with_default:ident, $T:ty) => { crate::config::key::Choice<$T> };
}

macro_rules! choose {
    (Unset, $key:expr, $kind:expr, $given:expr) => {
        Choice::new($key, $kind, $given)
    };
    ($with_default:ident, $key:expr, $kind:expr, $given:expr) => {
        Choice::new($key, $kind, $given).or_default($kind)?
    };
}

pub(super) use {choose, chosen_type, either, settings, way};
