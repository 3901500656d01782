//! `sockd doctor`, run as an operator runs it.

use serde_json::Value;

use super::{
    command::{Done, Shell},
    jwt,
    redis::Redis,
    sockd::INTERNAL_SECRET,
};

/// What the doctor is called with: good secrets, and nothing of the test's own environment.
pub struct Doctor(Shell);

impl Doctor {
    pub fn new() -> Self {
        let shell = Shell::new()
            .env("JWT_SECRET", jwt::SECRET)
            .env("INTERNAL_SECRET", INTERNAL_SECRET);
        Self(shell)
    }

    pub fn of(redis: &Redis) -> Self {
        Self::new().env("REDIS_PORT", redis.port.to_string())
    }

    pub fn without(self, name: &str) -> Self {
        Self(self.0.without(name))
    }

    pub fn env(self, name: &str, value: impl Into<String>) -> Self {
        Self(self.0.env(name, value))
    }

    /// What it finds. Whatever timed out is tried twice more, since a busy machine may be the cause.
    pub async fn examine(&self) -> Done {
        let mut examined = self.run(&["--json"]).await;
        for _ in 0..2 {
            if examined.stdout.contains(r#""found":"timed out""#) {
                examined = self.run(&["--json"]).await;
            }
        }
        examined
    }

    pub async fn run(&self, arguments: &[&str]) -> Done {
        self.0.run(&[&["doctor"], arguments].concat()).await
    }
}

/// The report of the doctor, as JSON.
impl Done {
    /// The verdict of a check, and what was found with what to do about it.
    pub fn check(&self, name: &str) -> (String, String) {
        let report: Value = serde_json::from_str(&self.stdout).expect("one JSON object");
        let checks = report["checks"].as_array().expect("checks");
        let found = checks.iter().find(|check| check["check"] == name);
        let found = found.unwrap_or_else(|| panic!("no check {name} in {}", self.stdout));
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        (
            text("verdict"),
            format!("{}; {}", text("found"), text("remedy")),
        )
    }

    /// Asserts the check's verdict, and that its text contains all of these words.
    pub fn assert(&self, name: &str, verdict: &str, words: &[&str]) {
        let (came, text) = self.check(name);
        assert_eq!(came, verdict, "{name}: {text}");
        for word in words {
            assert!(text.contains(word), "{name}: no {word:?} in {text}");
        }
    }
}
