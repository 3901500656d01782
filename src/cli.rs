//! The command line: the commands, their options and their exit codes.

mod completions;
mod config;
mod doctor;
mod drain;
mod emit;
mod failure;
mod force_logout;
mod input;
mod kick;
mod listen;
mod man;
mod output;
mod reload;
mod serve;
mod sessions;
mod status;
mod target;
mod token;
mod trace;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use self::failure::Failure;
use crate::config::{Flag, Settings, Sources, load};

const EXIT_CODES: &str = "\
Exit codes:
  0  ok
  1  failed
  2  usage or configuration
  3  unreachable
  4  unauthorised
  5  user offline under --require-online";

/// A Socket.IO push gateway with single login, and the operator's commands for it.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else
    /// /etc/sockd/sockd.toml]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::ServeArgs),
    /// Push an event to a user, or a file of events
    Emit(emit::EmitArgs),
    /// Make one session a user's only session, and close the sockets of all others
    ForceLogout(force_logout::ForceLogoutArgs),
    /// Close all sockets of a user, and with --invalidate-session keep their tokens out
    Kick(kick::KickArgs),
    /// Close a share of a node's connections, so that their clients come back on other nodes
    Drain(drain::DrainArgs),
    /// Make a running node read its configuration again
    Reload(reload::ReloadArgs),
    /// Connect as a user would, and print events as they come
    Listen(listen::ListenArgs),
    /// Show what happens to a user, live and on all nodes
    Trace(trace::TraceArgs),
    /// Mint and check tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Inspect the active sessions
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Show the state of a node, or of all nodes
    Status(status::StatusArgs),
    /// Check everything that a server depends on, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print shell completions
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(man::ManArgs),
}

impl Cli {
    /// Whether the command needs a runtime with several threads.
    pub fn serves(&self) -> bool {
        matches!(self.command, Command::Serve(_))
    }

    /// Runs the command, and prints the error if it fails.
    pub async fn run(self) -> ExitCode {
        let context = Context {
            config: self.config,
        };
        let done = match self.command {
            Command::Serve(args) => serve::run(args, &context).await,
            Command::Emit(args) => emit::run(args, &context).await,
            Command::ForceLogout(args) => force_logout::run(args, &context).await,
            Command::Kick(args) => kick::run(args, &context).await,
            Command::Drain(args) => drain::run(args, &context).await,
            Command::Reload(args) => reload::run(args, &context).await,
            Command::Listen(args) => listen::run(args, &context).await,
            Command::Trace(args) => trace::run(args, &context).await,
            Command::Token(command) => token::run(command, &context).await,
            Command::Sessions(command) => sessions::run(command, &context).await,
            Command::Status(args) => status::run(args, &context).await,
            Command::Doctor(args) => doctor::run(args, &context).await,
            Command::Config(command) => config::run(command, &context),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(args),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => output::failure(&failure),
        }
    }
}

/// Prints why the process cannot start, and returns its exit code.
pub fn cannot_start(error: anyhow::Error) -> ExitCode {
    output::failure(&Failure::from(error))
}

/// What all commands share.
struct Context {
    /// The file of `--config`.
    config: Option<PathBuf>,
}

impl Context {
    /// The settings from every source; flags override the others.
    fn settings(&self, flags: Vec<Flag>) -> Result<Settings, Failure> {
        Ok(load(&self.sources(flags)?)?)
    }

    /// Everything that settings are read from.
    fn sources(&self, flags: Vec<Flag>) -> Result<Sources, Failure> {
        Ok(Sources::from_process(self.config.clone(), flags)?)
    }

    /// An environment variable that is set and not blank.
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name)
            .ok()
            .filter(|value| !value.trim().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_option_takes_a_secret_itself() {
        fn options(command: &clap::Command) -> Vec<String> {
            let own = command
                .get_arguments()
                .filter_map(|argument| argument.get_long().map(str::to_owned));
            own.chain(command.get_subcommands().flat_map(options))
                .collect()
        }
        for option in options(&Cli::command()) {
            let is_secret = option.contains("secret") || option.contains("password");
            assert!(!is_secret || option.ends_with("-file"), "--{option}");
        }
    }
}
