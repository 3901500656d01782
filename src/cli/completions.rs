//! `sockd completions`: what a shell needs to complete our commands.

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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use clap::ValueEnum;
    use clap_complete::Generator;

    use super::*;

    /// Writes the files instead of comparing them, if `SOCKD_WRITE_COMPLETIONS` is set.
    #[test]
    fn the_files_in_completions_are_up_to_date() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
        for shell in Shell::value_variants() {
            let path = directory.join(shell.file_name("sockd"));
            let script = format!("{}\n", script(*shell).trim_end());
            if std::env::var_os("SOCKD_WRITE_COMPLETIONS").is_some() {
                fs::create_dir_all(&directory).unwrap();
                fs::write(&path, &script).unwrap();
            }
            assert!(
                fs::read_to_string(&path).is_ok_and(|text| text == script),
                "{} is out of date; write it anew with: SOCKD_WRITE_COMPLETIONS=1 cargo test --lib completions",
                path.display()
            );
        }
    }
}
