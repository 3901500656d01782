//! `sockd drain`: moves a share of a node's connections to other nodes.

use std::time::Duration;

use clap::Args;

use super::{Context, failure::Failure, output, target::Target};
use crate::wire::{LONGEST_SPREAD, Share};

#[derive(Debug, Args)]
#[command(after_help = "\
The oldest connections are closed, each after what is queued for it. Clients see a lost transport and
reconnect by themselves; the node goes on and takes new ones. Another drain takes the place of what is
left of the one before it, and --share 0 stops it.

Examples:
  sockd drain --share 0.3 --url http://10.0.0.1:3000
  sockd drain --share 1 --over 10m
  sockd drain --share 0

Exit codes:
  0  ok: the node has begun
  1  failed: the node refused
  2  usage or configuration
  3  unreachable
  4  unauthorised")]
pub(super) struct DrainArgs {
    /// The share of the open connections, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "1")]
    share: Share,

    /// Spread the closing over this time, at most a day
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = spread)]
    over: Duration,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

fn spread(text: &str) -> Result<Duration, String> {
    let over = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if over > LONGEST_SPREAD {
        return Err("choose a day or less, such as 30s or 10m".to_owned());
    }
    Ok(over)
}

pub(super) async fn run(args: DrainArgs, context: &Context) -> Result<(), Failure> {
    let client = args.target.client(context)?;
    let answer = client.drain(args.share, args.over).await?;
    let text = format!(
        "closing {} of {} connections over {}",
        answer.closing,
        answer.connections,
        humantime::format_duration(args.over)
    );
    output::result(args.json, &answer, text)?;
    Ok(())
}
