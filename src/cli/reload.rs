//! `sockd reload`: makes a running node read its configuration again.

use anyhow::anyhow;
use clap::Args;
use serde::Serialize;

use super::{
    Context,
    failure::{Exit, Failure},
    output,
    target::Target,
};
use crate::{client::ClientError, config::Problems, wire::ReloadAnswer};

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  ok: the node uses the new configuration, except for what needs a restart
  1  failed: the node refused
  2  usage or configuration: all mistakes are listed, and the node keeps what it had
  3  unreachable
  4  unauthorised")]
pub(super) struct ReloadArgs {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

/// The result when the node keeps what it had.
#[derive(Serialize)]
struct Kept {
    ok: bool,
    problems: Vec<String>,
}

pub(super) async fn run(args: ReloadArgs, context: &Context) -> Result<(), Failure> {
    let answer = match ask(&args.target, context).await {
        Err(failure) if args.json && failure.exit == Exit::Usage => {
            let (ok, problems) = (false, failure.problems());
            output::result(true, &Kept { ok, problems }, "")?;
            return Err(Failure::reported(Exit::Usage));
        }
        answer => answer?,
    };
    if !args.json {
        answer.warnings.iter().for_each(output::warning);
    }
    output::result(args.json, &answer, describe(&answer))?;
    Ok(())
}

/// Asks the node even if the configuration has mistakes: it finds more of them than can be seen from
/// here, and its log and metrics must record the attempt.
async fn ask(target: &Target, context: &Context) -> Result<ReloadAnswer, Failure> {
    let (client, mistakes) = match target.client(context) {
        Ok(client) => (client, None),
        Err(failure) if failure.error_of::<Problems>().is_some() => {
            let Ok(client) = target.client_despite_mistakes(context) else {
                return Err(failure);
            };
            (client, Some(failure))
        }
        Err(failure) => return Err(failure),
    };
    match (client.reload().await, mistakes) {
        (Err(error @ ClientError::Unauthorized(_)), None) => Err(Failure::new(
            Exit::Unauthorized,
            anyhow!(
                "{error}; if it was replaced there, list the old one under internal.previous_secrets, or send the node SIGHUP"
            ),
        )),
        // The mistakes may be why the node cannot be found.
        (Err(error), Some(mistakes)) if !error.is_of_node() => Err(mistakes),
        (answer, _) => Ok(answer?),
    }
}

fn describe(answer: &ReloadAnswer) -> String {
    let mut text = match answer.changed.as_slice() {
        [] => "nothing has changed".to_owned(),
        changed => format!("changed        {}", changed.join(", ")),
    };
    if !answer.needs_restart.is_empty() {
        let keys = answer.needs_restart.join(", ");
        text += &format!("\nneeds restart  {keys}");
    }
    text
}
