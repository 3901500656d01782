//! `sockd kick`: closes all sockets of a user.

use clap::Args;

use super::{Context, failure::Failure, output, target::Target};
use crate::{id::UserId, wire::LogoutReason};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sockd kick 64b7f0c2a1d2e3f405162738
  sockd kick 64b7f0c2a1d2e3f405162738 --reason BANNED --invalidate-session

Exit codes:
  0  ok: the sockets are closed
  1  failed: the node refused, or could not reach every node
  2  usage or configuration
  3  unreachable
  4  unauthorised")]
pub(super) struct KickArgs {
    /// The user to kick: every socket gets auth:logout and is closed
    user: String,

    /// What the clients are told: 1 to 64 printable ASCII characters [default: KICKED]
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Replace the stored session by one that nobody has, so that tokens of the old one no longer work
    #[arg(long)]
    invalidate_session: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: KickArgs, context: &Context) -> Result<(), Failure> {
    let user = UserId::try_from(args.user.as_str()).map_err(Failure::usage)?;
    let reason = args.reason.map(LogoutReason::try_from).transpose();
    let reason = reason.map_err(Failure::usage)?;
    let client = args.target.client(context)?;
    let answer = client
        .kick(&user, reason.as_ref(), args.invalidate_session)
        .await?;
    let sockets = output::sockets(answer.disconnected);
    output::result(args.json, &answer, format_args!("disconnected {sockets}"))?;
    Ok(())
}
