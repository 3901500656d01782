//! Checks everything that a server with this configuration would depend on.
//!
//! In reading order: `secrets`, `files`, `internal` and `certificates` check this process, `keys` the key set of tokens,
//! `link` the connection to Redis, `servers` the Redis servers, and `rights` what their ACL lets sockd do.

mod certificates;
mod files;
mod internal;
mod keys;
mod link;
mod rights;
mod secrets;
mod servers;

use serde::Serialize;

use crate::config::{Loaded, Problem};

/// The result of one check.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The name of the check, the same in every run.
    pub check: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// What to do about it, unless the check is ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It works, but probably not as intended, or not for long.
    Warn,
    /// A server would not work.
    Fail,
}

/// Why Redis could not be checked at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A file or an address in the settings is wrong.
    Misconfigured,
    Unreachable,
    Unauthorized,
}

/// All findings, in the order of the checks.
#[derive(Debug, Default)]
pub struct Diagnosis {
    pub findings: Vec<Finding>,
    pub obstacle: Option<Obstacle>,
}

impl Finding {
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    pub fn warn(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::of(Verdict::Warn, check, found, remedy)
    }

    pub fn fail(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::of(Verdict::Fail, check, found, remedy)
    }

    /// A problem of the configuration.
    pub fn of_settings(verdict: Verdict, problem: &Problem) -> Self {
        let Problem {
            place,
            found,
            remedy,
        } = problem;
        Self::of(verdict, "settings", format!("{place}: {found}"), remedy)
    }

    fn of(
        verdict: Verdict,
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            check,
            verdict,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }
}

impl Diagnosis {
    /// Runs every check, and removes what it writes to Redis.
    pub async fn of(loaded: &Loaded) -> Self {
        let Loaded {
            config, warnings, ..
        } = loaded;
        let mut diagnosis = Self::default();
        diagnosis.settings(warnings);
        diagnosis.findings.extend(secrets::examine(config));
        diagnosis.findings.push(files::examine());
        diagnosis.findings.push(internal::examine(config).await);
        diagnosis.findings.extend(certificates::examine(config));
        diagnosis.findings.extend(keys::examine(&config.auth).await);
        match &config.redis {
            None => diagnosis.add(Finding::warn(
                "sessions",
                "in memory: lost on restart and not shared with other nodes",
                "set redis.url (REDIS_HOST) to keep them; nothing, if a single node may lose them",
            )),
            Some(redis) => link::examine(config, redis, &mut diagnosis).await,
        }
        diagnosis
    }

    pub fn has_failed(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.verdict == Verdict::Fail)
    }

    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The warnings that `sockd config check` prints too.
    fn settings(&mut self, warnings: &[Problem]) {
        if warnings.is_empty() {
            self.add(Finding::ok("settings", "no warnings"));
        }
        let of_settings = |warning| Finding::of_settings(Verdict::Warn, warning);
        self.findings.extend(warnings.iter().map(of_settings));
    }
}
