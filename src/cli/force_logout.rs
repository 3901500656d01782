//! `sockd force-logout`: makes one session the user's only one.

use clap::Args;

use super::{Context, failure::Failure, output, target::Target};
use crate::id::{SessionId, UserId};

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sockd force-logout 64b7f0c2a1d2e3f405162738 3f2b8c1e-5a4d-4e6f-8a9b-0c1d2e3f4a5b

Exit codes:
  0  ok: the session is the user's only one
  1  failed: the node refused
  2  usage or configuration
  3  unreachable
  4  unauthorised")]
pub(super) struct ForceLogoutArgs {
    /// The user who has logged in elsewhere
    user: String,

    /// The session to keep: sockets of all others get auth:logout and are closed
    session: String,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: ForceLogoutArgs, context: &Context) -> Result<(), Failure> {
    let user = UserId::try_from(args.user.as_str()).map_err(Failure::usage)?;
    let session = SessionId::try_from(args.session.as_str()).map_err(Failure::usage)?;
    let client = args.target.client(context)?;
    let answer = client.force_logout(&user, &session).await?;
    let sockets = output::sockets(answer.disconnected);
    let text = format_args!("disconnected {sockets} of other sessions");
    output::result(args.json, &answer, text)?;
    Ok(())
}
