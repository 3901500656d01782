//! What commands read: files, stdin and randomness.

use std::{
    io::{self, Read},
    path::Path,
};

use anyhow::{Context as _, anyhow};

use super::failure::Failure;
use crate::secret::Secret;

/// Reads a secret from a file or stdin, without the line break that editors add.
pub(super) fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let text = read_text(path).map_err(Failure::usage)?;
    Secret::of_file(text).ok_or_else(|| {
        let error = anyhow!("{} holds no secret; write one into it", path.display());
        Failure::usage(error)
    })
}

/// Reads a file, or stdin for `-`.
pub(super) fn read_text(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .context("failed to read stdin; pipe UTF-8 text into it")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| {
        format!(
            "{} cannot be read; give a file of UTF-8 text",
            path.display()
        )
    })
}

/// Returns as many random bytes as a strong secret has.
///
/// # Errors
/// The system's random source failed.
pub(super) fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("failed to read the system's random source")?;
    Ok(bytes)
}
