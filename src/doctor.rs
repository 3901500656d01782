//! Whether everything that a server of a configuration would stand on is as it should be.
//!
//! `sockd doctor` prints what is found. In reading order: `secrets` and `files` look at this process,
//! `link` at the way to
//! Redis, `servers` at what is there, `rights` at what its ACL lets sockd do.

mod files;
mod link;
mod rights;
mod secrets;
mod servers;

use serde::Serialize;

use crate::config::Loaded;

/// What one check has found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// A word for the check, the same in every run.
    pub check: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// What to do about it, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It works, but hardly as meant, or not for long.
    Warn,
    /// A server could not do its work.
    Fail,
}

/// What keeps all checks of Redis from being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A file or an address that the settings name is not what it should be.
    Misconfigured,
    Unreachable,
    Unauthorized,
}

/// All that was found, in the order of the checks.
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
    /// Makes every check. What is tried in Redis is gone from it afterwards.
    pub async fn of(loaded: &Loaded) -> Self {
        let Loaded { config, warnings } = loaded;
        let mut diagnosis = Self::default();
        diagnosis.settings(warnings);
        diagnosis.findings.extend(secrets::examine(config));
        diagnosis.findings.push(files::examine());
        match &config.redis {
            None => diagnosis.add(Finding::warn(
                "sessions",
                "in the memory of one process: forgotten when it restarts, shared with no other",
                "set redis.url (REDIS_HOST) to keep them; for one node that may forget, nothing",
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

    /// The oddities that `sockd config check` tells as well.
    fn settings(&mut self, warnings: &[String]) {
        if warnings.is_empty() {
            self.add(Finding::ok("settings", "nothing is odd about them"));
        }
        for warning in warnings {
            // A warning ends in its own remedy, behind the last semicolon.
            let (found, remedy) = warning
                .rsplit_once("; ")
                .unwrap_or((warning, "see docs/configuration.md"));
            self.add(Finding::warn("settings", found, remedy));
        }
    }
}
