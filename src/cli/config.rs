//! `sockd config`: the effective settings, their origins, and whether they are valid.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Context,
    failure::Failure,
    output::{self, Results},
};
use crate::{
    auth::TokenVerifier,
    config::{self, Config, Loaded, Problem, Settings},
};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration, and list every problem
    Check(CheckArgs),
    /// Print every setting with its value and origin; secrets are redacted
    Show(ShowArgs),
    /// Print a configuration file with every setting, its default and its purpose
    Example,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  ok: sockd serve would start with it
  2  the configuration has problems; all of them are listed")]
pub(super) struct CheckArgs {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  ok
  2  the configuration has problems; what could be read is shown anyway")]
pub(super) struct ShowArgs {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: ConfigCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(args) => check(&args, context),
        ConfigCommand::Show(args) => show(&args, context),
        ConfigCommand::Example => {
            let mut results = Results::default();
            results.line(config::example().trim_end())?;
            results.finish()?;
            Ok(())
        }
    }
}

/// The result of `config check` without problems.
#[derive(Serialize)]
struct Checked {
    ok: bool,
    file: Option<String>,
    listen: String,
    sessions: String,
    warnings: Vec<String>,
}

/// The result of `config check` with problems.
#[derive(Serialize)]
struct Wrong {
    ok: bool,
    problems: Vec<String>,
}

fn check(args: &CheckArgs, context: &Context) -> Result<(), Failure> {
    let loaded = context.settings(Vec::new()).and_then(|settings| {
        let loaded = servable(&settings).inspect_err(|_| warn(settings.notes()))?;
        Ok((settings, loaded))
    });
    let (
        settings,
        Loaded {
            config, warnings, ..
        },
    ) = match loaded {
        Err(failure) if args.json => {
            let problems = failure.problems();
            output::result(
                true,
                &Wrong {
                    ok: false,
                    problems,
                },
                "",
            )?;
            return Err(Failure::reported(failure.exit));
        }
        loaded => loaded?,
    };
    warn(&warnings);
    let checked = Checked {
        ok: true,
        file: settings.file().map(|path| path.display().to_string()),
        listen: format!("{} port {}", config.server.host, config.server.port),
        sessions: describe_sessions(&config),
        warnings: warnings.iter().map(Problem::to_string).collect(),
    };
    let text = format!(
        "ok\nfile      {}\nlisten    {}\nsessions  {}",
        checked.file.as_deref().unwrap_or("none"),
        checked.listen,
        checked.sessions
    );
    output::result(args.json, &checked, text)?;
    Ok(())
}

fn warn(warnings: &[Problem]) {
    warnings.iter().for_each(output::warning);
}

/// The configuration and its warnings, checked as far as possible without serving.
pub(super) fn servable(settings: &Settings) -> Result<Loaded, Failure> {
    let loaded = settings.resolve()?;
    // Some faults of a key show only when it is used.
    TokenVerifier::new(&loaded.config.auth, loaded.config.ids.clone())?;
    Ok(loaded)
}

/// Where sessions are kept, and what that means.
pub(super) fn describe_sessions(config: &Config) -> String {
    match &config.redis {
        Some(redis) => format!("in Redis at {}, shared by all nodes there", redis.topology),
        None => {
            "in memory: lost on restart and not shared with other nodes; set redis.url to keep them"
                .to_owned()
        }
    }
}

fn show(args: &ShowArgs, context: &Context) -> Result<(), Failure> {
    let settings = context.settings(Vec::new())?;
    let rows = settings.rows();
    let mut results = Results::default();
    if args.json {
        for row in &rows {
            results.json(row)?;
        }
    } else {
        let value = |row: &config::Row| row.value.clone().unwrap_or_else(|| "-".into());
        let widest = |of: &dyn Fn(&config::Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
        let keys = widest(&|row| row.key.chars().count());
        // A long list must not push the last column out of sight.
        let values = widest(&|row| value(row).chars().count()).min(48);
        for row in &rows {
            results.line(format_args!(
                "{:keys$}  {:values$}  {}",
                row.key,
                value(row),
                row.origin
            ))?;
        }
    }
    results.finish()?;
    warn(settings.notes());
    Ok(settings.mistakes()?)
}
