//! `sockd reload`: let a running node read its configuration again.

use clap::Args;
use serde::Serialize;

use super::{
    Context,
    failure::{Exit, Failure},
    output,
    target::Target,
};
use crate::{client::ClientError, wire::ReloadAnswer};

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
    let client = args.target.client(context)?;
    let answer = match client.reload().await {
        Err(ClientError::Mistakes { problems, .. }) if args.json => {
            let ok = false;
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
