//! How a command fails: its error message and its exit code.

use std::{error::Error, fmt, process::ExitCode};

use anyhow::anyhow;

use super::output::OutputError;
use crate::{
    auth::{AuthError, jwks::JwksError},
    client::ClientError,
    config::{Problem, Problems},
    session::list::ListError,
};

/// The exit code of a command that did not succeed; `--help` and docs/operating.md list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    Unauthorized = 4,
    Offline = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// `None` if the result on stdout already says why.
    pub(super) error: Option<anyhow::Error>,
}

impl Failure {
    pub(super) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        let error = Some(error.into());
        Self { exit, error }
    }

    /// A mistake in the arguments, or in a file that they name.
    pub(super) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::Usage, error)
    }

    /// For a command whose result on stdout already reports the failure.
    pub(super) fn reported(exit: Exit) -> Self {
        Self { exit, error: None }
    }

    /// Every problem, as one text each.
    pub(super) fn problems(&self) -> Vec<String> {
        if let Some(problems) = self.error_of::<Problems>() {
            return problems.iter().map(Problem::to_string).collect();
        }
        match self.error_of() {
            Some(ClientError::Mistakes { problems, .. }) => problems.clone(),
            _ => vec![self.chain()],
        }
    }

    /// The error, if it is of this kind.
    pub(super) fn error_of<E: Error + Send + Sync + 'static>(&self) -> Option<&E> {
        self.error.as_ref()?.downcast_ref()
    }

    /// The error with its causes, on one line.
    pub(super) fn chain(&self) -> String {
        self.error
            .as_ref()
            .map_or_else(String::new, |error| format!("{error:#}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::usage(problems)
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        Problems::from(Problem::from(error)).into()
    }
}

impl From<JwksError> for Failure {
    fn from(error: JwksError) -> Self {
        anyhow!(error.report()).into()
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Url(_)
            | ClientError::Secret(_)
            | ClientError::File { .. }
            | ClientError::Tls(_)
            | ClientError::Mistakes { .. } => Exit::Usage,
            ClientError::Unreachable { .. }
            | ClientError::NotAllowed { .. }
            | ClientError::Untrusted { .. }
            | ClientError::NoAnswer { .. }
            | ClientError::Lost { .. }
            | ClientError::Silent { .. } => Exit::Unreachable,
            ClientError::Unauthorized(_) => Exit::Unauthorized,
            ClientError::Setup(_)
            | ClientError::Relay(_)
            | ClientError::Refused { .. }
            | ClientError::Unintelligible { .. } => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<ListError> for Failure {
    fn from(error: ListError) -> Self {
        let (exit, remedy) = if error.is_unauthorized() {
            (
                Exit::Unauthorized,
                "Redis refuses the login; set REDIS_PASS, or redis.username and redis.password",
            )
        } else if error.is_forbidden() {
            (
                Exit::Unauthorized,
                "Redis does not let sockd's user do that; `sockd doctor` says what to grant",
            )
        } else if error.is_unreachable() {
            (
                Exit::Unreachable,
                "Redis does not answer; start it, or set redis.url or REDIS_HOST to its address",
            )
        } else {
            return Self::new(Exit::Failed, error);
        };
        Self::new(exit, anyhow::Error::from(error).context(remedy))
    }
}
