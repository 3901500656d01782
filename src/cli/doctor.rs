//! `sockd doctor`: checks everything that a server depends on, and says what to do.

use clap::Args;
use serde::Serialize;

use super::{
    Context,
    config::servable,
    failure::{Exit, Failure},
    output::{Colour, Results, paint},
};
use crate::{
    config::Problems,
    doctor::{Diagnosis, Finding, Obstacle, Verdict},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Checks the settings, the secrets and the limit on open files, and uses Redis as a server would; \
nothing is left in Redis.

Examples:
  sockd doctor
  sockd doctor --json | jq '.checks[] | select(.verdict != \"ok\")'

Exit codes:
  0  ok: no check failed
  1  failed: a check failed
  2  usage or configuration
  3  Redis is unreachable
  4  Redis refuses the user or the password")]
pub(super) struct DoctorArgs {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result of the command.
#[derive(Serialize)]
struct Report {
    /// No check failed.
    ok: bool,
    checks: Vec<Finding>,
}

pub(super) async fn run(args: DoctorArgs, context: &Context) -> Result<(), Failure> {
    let settings = context.settings(Vec::new());
    let loaded = settings.and_then(|settings| servable(&settings));
    let (checks, exit) = match loaded {
        Ok(loaded) => {
            let diagnosis = Diagnosis::of(&loaded).await;
            let exit = exit(&diagnosis);
            (diagnosis.findings, exit)
        }
        Err(failure) => {
            let problems = failure.error_of::<Problems>();
            let Some(problems) = problems else {
                return Err(failure);
            };
            let of_settings = |problem| Finding::of_settings(Verdict::Fail, problem);
            (
                problems.iter().map(of_settings).collect(),
                Some(Exit::Usage),
            )
        }
    };
    let ok = exit.is_none();
    let mut results = Results::default();
    if args.json {
        results.json(&Report { ok, checks })?;
    } else {
        print(&checks, &mut results)?;
    }
    results.finish()?;
    exit.map_or(Ok(()), |exit| Err(Failure::reported(exit)))
}

fn exit(diagnosis: &Diagnosis) -> Option<Exit> {
    match diagnosis.obstacle {
        Some(Obstacle::Misconfigured) => Some(Exit::Usage),
        Some(Obstacle::Unreachable) => Some(Exit::Unreachable),
        Some(Obstacle::Unauthorized) => Some(Exit::Unauthorized),
        None => diagnosis.has_failed().then_some(Exit::Failed),
    }
}

fn print(checks: &[Finding], results: &mut Results) -> Result<(), Failure> {
    let width = checks
        .iter()
        .map(|finding| finding.check.len())
        .max()
        .unwrap_or(0);
    for Finding {
        check,
        verdict,
        found,
        ..
    } in checks
    {
        let (word, colour) = match verdict {
            Verdict::Ok => ("ok  ", Colour::Green),
            Verdict::Warn => ("warn", Colour::Yellow),
            Verdict::Fail => ("fail", Colour::Red),
        };
        let word = paint(word, colour, &std::io::stdout());
        results.line(format_args!("{word}  {check:width$}  {found}"))?;
    }
    let remedies = checks
        .iter()
        .filter_map(|finding| Some((finding.check, finding.remedy.as_ref()?)));
    for (index, (check, remedy)) in remedies.enumerate() {
        if index == 0 {
            results.line("\nWhat to do next:")?;
        }
        results.line(format_args!("  {check:width$}  {remedy}"))?;
    }
    Ok(())
}
