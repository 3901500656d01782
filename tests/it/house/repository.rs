//! Files of the repository that the program writes: each is identical to what the program prints.

use std::{fs, path::Path, process::Command};

use serde_json::json;
use sockd::wire::ErrorCode;

use crate::{
    house::layers,
    support::{jwt, sockd::INTERNAL_SECRET},
};

const COMPLETIONS: [(&str, &str); 5] = [
    ("bash", "sockd.bash"),
    ("elvish", "sockd.elv"),
    ("fish", "sockd.fish"),
    ("powershell", "_sockd.ps1"),
    ("zsh", "_sockd"),
];

#[test]
fn completions_are_what_the_program_prints() {
    for (shell, file) in COMPLETIONS {
        is_printed(&format!("completions/{file}"), &["completions", shell]);
    }
    let kept = fs::read_dir(repository().join("completions")).expect("a folder");
    assert_eq!(kept.count(), COMPLETIONS.len());
}

#[test]
fn the_example_of_a_configuration_is_what_the_program_prints() {
    is_printed("config.example.toml", &["config", "example"]);
}

/// Each line `#key = value` of the example, switched on, is a known key, and changes nothing.
#[test]
fn the_example_has_every_key_with_its_default() {
    let example = fs::read_to_string(repository().join("config.example.toml")).expect("a file");
    let switched_on: String = example
        .lines()
        .map(|line| {
            let is_setting = line.starts_with('#') && !line.starts_with("# ");
            format!("{}\n", &line[usize::from(is_setting)..])
        })
        .collect();
    let by_default = shown("");
    let by_example = shown(&switched_on);
    assert!(by_default.len() > 40, "{by_default:?}");
    for (default, example) in by_default.iter().zip(&by_example) {
        assert_eq!(default, example);
        let (section, name) = default.0.split_once('.').expect("section.name");
        let section = example_section(&switched_on, section);
        assert!(section.contains(&format!("{name} = ")), "{}", default.0);
    }
    assert_eq!(by_default.len(), by_example.len());
}

/// By text, so that an alias counts as well.
#[test]
fn every_name_of_the_last_release_still_exists() {
    let fixture = repository().join("tests/fixtures/names.txt");
    let names = fs::read_to_string(fixture).expect("a file");
    let names = names
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let sources: String = layers::sources().collect();
    let settings = shown("");
    let is_gone = |name: &&str| {
        let code = serde_json::from_value::<ErrorCode>(json!(name));
        let is_setting = settings.iter().any(|(key, _)| key == name);
        code.is_err() && !is_setting && !sources.contains(&format!("\"{name}\""))
    };
    let gone: Vec<&str> = names.filter(is_gone).collect();
    assert!(gone.is_empty(), "these need an alias: {gone:?}");
}

/// Every key with its value, as `config show` prints them with this file, which has no mistakes.
fn shown(file: &str) -> Vec<(String, serde_json::Value)> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("sockd.toml"), file).expect("a file");
    let config = |command: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_sockd"))
            .args(["config", command, "--json"])
            .env_clear()
            .env("JWT_SECRET", jwt::SECRET)
            .env("INTERNAL_SECRET", INTERNAL_SECRET)
            .current_dir(&directory)
            .output()
            .expect("the built binary starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    config("check");
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let key = row["key"].as_str().expect("a key").to_owned();
        (key, row["value"].clone())
    };
    config("show").lines().map(row).collect()
}

fn example_section<'a>(example: &'a str, name: &str) -> &'a str {
    let (_, section) = example
        .split_once(&format!("[{name}]\n"))
        .unwrap_or_else(|| panic!("no section [{name}]"));
    section.split("\n[").next().unwrap_or(section)
}

fn is_printed(file: &str, command: &[&str]) {
    let kept = fs::read_to_string(repository().join(file)).unwrap_or_default();
    let printed = Command::new(env!("CARGO_BIN_EXE_sockd"))
        .args(command)
        .output()
        .expect("the built binary starts");
    assert!(printed.status.success(), "{printed:?}");
    let command = command.join(" ");
    assert!(
        kept == String::from_utf8_lossy(&printed.stdout),
        "{file} is out of date; renew it: cargo run -- {command} > {file}"
    );
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
