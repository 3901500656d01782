//! `sockd token`: mints and checks tokens.

mod check;
mod mint;

use clap::Subcommand;

use super::{Context, failure::Failure};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Mint a token, or many for a load test
    Mint(mint::MintArgs),
    /// Check whether the server would accept a token, and if not, exactly why
    Check(check::CheckArgs),
}

pub(super) async fn run(command: TokenCommand, context: &Context) -> Result<(), Failure> {
    match command {
        TokenCommand::Mint(args) => mint::run(args, context),
        TokenCommand::Check(args) => check::run(args, context).await,
    }
}
