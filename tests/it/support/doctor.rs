//! `sockd doctor`, run as an operator runs it.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{jwt, redis::Redis, sockd::INTERNAL_SECRET};

/// What the doctor is called with: good secrets, and nothing of the test's own environment.
pub struct Doctor {
    environment: BTreeMap<&'static str, String>,
}

/// What it said.
pub struct Examined {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Doctor {
    pub fn new() -> Self {
        Self {
            environment: BTreeMap::new(),
        }
        .env("JWT_SECRET", jwt::SECRET)
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
    }

    pub fn of(redis: &Redis) -> Self {
        Self::new().env("REDIS_PORT", redis.port.to_string())
    }

    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    pub fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.insert(name, value.into());
        self
    }

    pub fn examine(&self) -> Examined {
        self.run(&["--json"])
    }

    pub fn run(&self, arguments: &[&str]) -> Examined {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let output = Command::new(env!("CARGO_BIN_EXE_sockd"))
            .arg("doctor")
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .output()
            .expect("the built binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Examined {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Examined {
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
