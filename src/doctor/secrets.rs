//! Whether the secrets can be guessed; they are never shown.

use zxcvbn::zxcvbn;

use super::{Finding, Verdict};
use crate::{
    config::{Config, named_secrets},
    secret::Secret,
};

/// How strong a secret must be, as the power of ten of the guesses it takes.
struct Strength {
    /// Fewer guesses take only hours.
    fail: f64,
    /// Fewer are within reach of a determined attacker.
    warn: f64,
}

/// An attacker who has a token can try secrets offline, about 10^10 a second.
const OFFLINE: Strength = Strength {
    fail: 12.0,
    warn: 16.0,
};
/// Each guess is a request to the server.
const ONLINE: Strength = Strength {
    fail: 8.0,
    warn: 12.0,
};

/// Placeholders from examples, which attackers try first.
const PLACEHOLDERS: [&str; 10] = [
    "your-256-bit-secret",
    "your-secret-key",
    "your-jwt-secret",
    "jwt-secret",
    "internal-secret",
    "auth-token",
    "change-me",
    "sockd",
    "socket",
    "jwt",
];

/// One finding for all secrets if they are good, else one for each that is not.
pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let tokens = named_secrets("auth", &config.auth.secrets).filter(|(_, secret)| !secret.is_pem());
    let tokens = tokens.filter_map(|(name, secret)| judge(&name, secret, &OFFLINE));
    let callers = named_secrets("internal", &config.internal.secrets)
        .filter_map(|(name, secret)| judge(&name, secret, &ONLINE));
    let scrapers = config.metrics.secret.as_ref();
    let scrapers = scrapers.and_then(|secret| judge("metrics.secret", secret, &ONLINE));
    let mut findings: Vec<Finding> = tokens.chain(callers).chain(scrapers).collect();
    if is_shared(config) {
        findings.push(Finding::warn(
            "secrets",
            "auth and internal have a secret in common, so callers that may push events can sign tokens as well",
            "generate another for the internal API with `openssl rand -hex 32`",
        ));
    }
    if opens_more_than_metrics(config) {
        findings.push(Finding::warn(
            "secrets",
            "metrics.secret is also a secret of auth or internal, so scrapers can do more than read",
            "generate another for metrics.secret with `openssl rand -hex 32`",
        ));
    }
    if findings.is_empty() {
        let count = config.auth.secrets.len()
            + config.internal.secrets.len()
            + usize::from(config.metrics.secret.is_some());
        findings.push(Finding::ok(
            "secrets",
            format!("{count}, none can be guessed"),
        ));
    }
    findings
}

fn judge(name: &str, secret: &Secret, strength: &Strength) -> Option<Finding> {
    let guesses = zxcvbn(secret.expose(), &PLACEHOLDERS).guesses_log10();
    let verdict = if guesses < strength.fail {
        Verdict::Fail
    } else if guesses < strength.warn {
        Verdict::Warn
    } else {
        return None;
    };
    let found = format!("{name} can be guessed in about 10^{guesses:.0} tries");
    let mut remedy = format!("generate a new {name} with `openssl rand -hex 32`");
    if name != "metrics.secret" {
        remedy += "; keep the old one in previous_secrets until all callers have the new one";
    }
    Some(Finding::of(verdict, "secrets", found, remedy))
}

fn is_shared(config: &Config) -> bool {
    let internal = &config.internal.secrets;
    let mut auth = config.auth.secrets.iter();
    auth.any(|secret| internal.iter().any(|other| other.matches(secret.expose())))
}

fn opens_more_than_metrics(config: &Config) -> bool {
    let Some(secret) = &config.metrics.secret else {
        return false;
    };
    let mut others = config.auth.secrets.iter().chain(&config.internal.secrets);
    others.any(|other| other.matches(secret.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessable_secrets_fail_and_random_ones_pass() {
        let verdict = |text: &str, strength| {
            judge("auth.secret", &Secret::new(text.into()), strength).map(|finding| finding.verdict)
        };
        for text in [
            "secret",
            "changeme",
            "your-256-bit-secret",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "12345678901234567890",
        ] {
            assert_eq!(verdict(text, &OFFLINE), Some(Verdict::Fail), "{text}");
        }
        assert_eq!(verdict("password", &ONLINE), Some(Verdict::Fail));
        let random = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert_eq!(verdict(random, &OFFLINE), None);
        assert_eq!(verdict(&random[..24], &OFFLINE), None);
        assert_eq!(verdict("kT9#vQ2xLp4!", &ONLINE), None);
    }

    #[test]
    fn a_finding_never_shows_the_secret() {
        let finding = judge("auth.secret", &Secret::new("hunter2".into()), &OFFLINE).unwrap();
        assert!(!format!("{finding:?}").contains("hunter2"));
    }
}
