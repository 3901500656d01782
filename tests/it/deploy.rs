//! The files in `deploy/`, with the programs that they are for.

mod debian;
mod kubernetes;
mod proxies;
mod sandbox;
mod units;

use std::path::{Path, PathBuf};

/// A file of `deploy/`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

/// The text of a file of `deploy/`, with parts of it replaced by what this machine has.
fn adapted(name: &str, replacements: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(file(name)).expect("a file of deploy/");
    for (named, present) in replacements {
        assert!(
            text.contains(named),
            "deploy/{name} does not have {named:?}"
        );
        text = text.replace(named, present);
    }
    text
}
