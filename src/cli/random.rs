//! Random bytes for generated secrets and identifiers.

use anyhow::Context as _;

/// Returns as many bytes as a strong secret has.
///
/// # Errors
/// The system's random source failed.
pub(super) fn bytes() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("failed to read the system's random source")?;
    Ok(bytes)
}
