//! `sockd token`: make tokens, and judge them.

mod check;
mod mint;

use clap::Subcommand;

use super::{Context, failure::Failure};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token, or many for a load test
    Mint(mint::MintArgs),
    /// Say whether the server would admit a token, or exactly why not
    Check(check::CheckArgs),
}

pub(super) fn run(command: TokenCommand, context: &Context) -> Result<(), Failure> {
    match command {
        TokenCommand::Mint(args) => mint::run(args, context),
        TokenCommand::Check(args) => check::run(args, context),
    }
}
