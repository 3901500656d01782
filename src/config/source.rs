//! Where values come from, from weakest to strongest: file, environment, flags.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::problem::{Problem, Problems};

/// Everything outside the process that a configuration is read from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The process environment.
    pub env: BTreeMap<String, OsString>,
    /// Where `.env` and `sockd.toml` are, and what relative paths in variables and flags start from.
    pub directory: PathBuf,
    /// The file of `--config`, which must exist; it overrides SOCKD_CONFIG.
    pub explicit_file: Option<PathBuf>,
    /// The file that is read when the directory has no `sockd.toml`.
    pub system_file: PathBuf,
    /// What the command line gives.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// What this process was started with.
    ///
    /// # Errors
    /// A working directory that no longer exists.
    pub fn from_process(
        explicit_file: Option<PathBuf>,
        flags: Vec<Flag>,
    ) -> Result<Self, Problems> {
        let directory = env::current_dir().map_err(|error| {
            let found = format_args!("cannot be read: {error}");
            Problem::new("working directory", found, "change to one that exists")
        })?;
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Ok(Self {
            env: env::vars_os().filter_map(named).collect(),
            directory,
            explicit_file,
            system_file: PathBuf::from("/etc/sockd/sockd.toml"),
            flags,
        })
    }
}

/// Whether a file is in a folder that this user may not look into, such as with `sudo -u sockd` in one's
/// own home.
pub(super) fn is_out_of_sight(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// A setting given on the command line.
#[derive(Clone)]
pub struct Flag {
    /// As the operator types it, `--port`, for messages.
    pub name: &'static str,
    /// The setting that it gives, `server.port`.
    pub key: &'static str,
    pub value: String,
}

/// The place where a value was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File {
        file: Arc<Path>,
        line: usize,
        column: usize,
    },
    Environment(String),
    DotEnv {
        name: String,
        line: usize,
    },
    Flag(&'static str),
}

impl Origin {
    /// The precedence of the source: the greater one wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::File { .. } => 1,
            Self::Environment(name) | Self::DotEnv { name, .. } => {
                if name.starts_with("SOCKD_") {
                    3
                } else {
                    2
                }
            }
            Self::Flag(_) => 4,
        }
    }

    /// Whether the value comes from the process environment, not from `.env`.
    pub(super) fn is_process(&self) -> bool {
        matches!(self, Self::Environment(_))
    }

    /// The exact place, for problems; [`Display`](fmt::Display) is the short form for tables.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File { file, line, column } => format!("{}:{line}:{column}", file.display()),
            Self::DotEnv { name, line } => format!(".env:{line}: {name}"),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, .. } => write!(f, "{}:{line}", file.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::DotEnv { name, .. } => write!(f, ".env {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}
