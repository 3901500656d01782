//! `sockd man`: the manual pages.

use std::{io, path::PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;
use thiserror::Error;

use super::{Cli, failure::Failure, output::Results};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sockd man | man -l -
  sudo sockd man --directory /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Write a page for each command into this directory, instead of printing that of sockd
    #[arg(long, value_name = "PATH")]
    directory: Option<PathBuf>,
}

/// The pages could not be made.
#[derive(Debug, Error)]
pub(super) enum ManError {
    #[error("cannot make the manual page")]
    Render(#[source] io::Error),
    #[error(
        "cannot write manual pages into {directory:?}; create it, or choose another with --directory"
    )]
    Write {
        directory: PathBuf,
        #[source]
        error: io::Error,
    },
}

pub(super) fn run(args: ManArgs) -> Result<(), Failure> {
    let command = Cli::command();
    if let Some(directory) = args.directory {
        let written = clap_mangen::generate_to(command, &directory);
        written.map_err(|error| anyhow::Error::new(ManError::Write { directory, error }))?;
        return Ok(());
    }
    let mut page = Vec::new();
    let rendered = Man::new(command).render(&mut page);
    rendered.map_err(|error| anyhow::Error::new(ManError::Render(error)))?;
    let mut results = Results::default();
    results.line(String::from_utf8_lossy(&page).trim_end())?;
    results.finish()?;
    Ok(())
}
