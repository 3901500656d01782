//! The examples in the documents that are no commands: settings, rules for Redis and code of clients.

use std::{fs, process::Command};

use super::documentation::documents;
use crate::support::{doctor::Doctor, redis::Redis};

#[test]
fn every_example_of_settings_can_be_read() {
    let mut examples = 0;
    for (path, text) in documents() {
        for example in blocks(&text, "toml") {
            let directory = tempfile::tempdir().expect("a temporary directory");
            fs::write(directory.path().join("sockd.toml"), example).expect("a file");
            let shown = Command::new(env!("CARGO_BIN_EXE_sockd"))
                .args(["config", "show"])
                .env_clear()
                .current_dir(&directory)
                .output()
                .expect("the built binary starts");
            let said = String::from_utf8_lossy(&shown.stderr);
            assert!(shown.status.success(), "{path:?}: {said}\n{example}");
            examples += 1;
        }
    }
    assert!(examples > 8, "{examples}");
}

/// A server needs only the first rules, and the doctor has nothing to ask for with the others.
#[tokio::test]
async fn the_rules_for_a_user_of_redis_are_enough() {
    const PASSWORD: &str = "a-password-of-the-tests";
    let page = documents()
        .into_iter()
        .find(|(path, _)| path.ends_with("docs/redis.md"));
    let (_, page) = page.expect("the page");
    let rules: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("ACL SETUSER "))
        .collect();
    let redis = Redis::start().await;
    let doctor = Doctor::of(&redis)
        .env("SOCKD_REDIS__USERNAME", "sockd")
        .env("REDIS_PASS", PASSWORD);
    let mut operator = Vec::new();
    for rule in &rules {
        let rule = rule.replace("PASSWORD", PASSWORD);
        let mut words = rule.split(' ');
        let mut command = redis::cmd(words.next().expect("a word"));
        words.for_each(|word| {
            command.arg(word);
        });
        command
            .exec(&mut redis.connection())
            .expect("Redis takes the rule");
        let examined = doctor.examine().await;
        assert_eq!(examined.code, Some(0), "{}", examined.stdout);
        examined.assert("rights", "ok", &[]);
        operator.push(examined.check("operator").0);
    }
    assert_eq!(operator, ["warn", "ok"]);
}

#[test]
fn every_example_of_a_client_is_javascript() {
    let mut examples = 0;
    for (path, text) in documents() {
        for example in blocks(&text, "js") {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let file = directory.path().join("example.mjs");
            fs::write(&file, example).expect("a file");
            let checked = Command::new("node").arg("--check").arg(&file).output();
            let checked = checked.expect("node starts");
            let said = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success(), "{path:?}: {said}");
            examples += 1;
        }
    }
    assert!(examples > 0);
}

/// The blocks of a document that are in this language.
pub(super) fn blocks<'a>(text: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.filter_map(move |block| {
        let (first, lines) = block.split_once('\n')?;
        (first == language).then_some(lines)
    })
}
