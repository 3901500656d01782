//! Random bytes, for secrets and identifiers that are made up.

use anyhow::Context as _;

/// As many bytes as a good secret has.
///
/// # Errors
/// The system gives none.
pub(super) fn bytes() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the system has no random numbers to give")?;
    Ok(bytes)
}
