//! `sockd completions`: completion scripts for shells.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, failure::Failure, output::Results};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sockd completions bash > /etc/bash_completion.d/sockd
  sockd completions zsh > ~/.zfunc/_sockd
  sockd completions fish > ~/.config/fish/completions/sockd.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut results = Results::default();
    results.line(script(args.shell).trim_end())?;
    results.finish()?;
    Ok(())
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "sockd", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
