//! Closed sets whose members have names outside of the code, such as labels of metrics.

/// Declares an enum whose members each have a label, which is also how they are displayed.
macro_rules! labels {
    ($(#[$doc:meta])* $vis:vis enum $Name:ident {
        $($(#[$note:meta])* $Member:ident => $label:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $Name {
            $($(#[$note])* $Member,)*
        }

        impl $Name {
            /// All members, each at the index that it is as a number.
            $vis const ALL: [Self; [$($label),*].len()] = [$(Self::$Member),*];

            $vis const fn label(self) -> &'static str {
                match self {
                    $(Self::$Member => $label,)*
                }
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.label())
            }
        }
    };
}

pub(crate) use labels;
