//! `sockd emit`: pushes one event, or a file of them.

mod batch;
mod lines;
mod outcomes;
mod unsent;

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::value::RawValue;

use super::{
    Context,
    failure::{Exit, Failure},
    input::read_text,
    output,
    target::Target,
};
use crate::{
    id::{EventName, UserId},
    wire::EmitAnswer,
};

#[derive(Debug, Args)]
#[command(override_usage = "\
sockd emit [OPTIONS] <USER> <EVENT> [PAYLOAD]
       sockd emit [OPTIONS] --batch <FILE>")]
#[command(after_help = "\
Examples:
  sockd emit 64b7f0c2a1d2e3f405162738 profile:update '{\"name\":\"Ada\"}'
  sockd emit 64b7f0c2a1d2e3f405162738 profile:update @payload.json
  sockd emit --batch events.ndjson
  with lines such as {\"userId\":\"64b7f0c2a1d2e3f405162738\",\"event\":\"profile:update\",\"payload\":{}}

Exit codes:
  0  ok: the node accepted the event, even if the user is offline; for a batch, every event
  1  failed: the node refused the event; for a batch, at least one line failed
  2  usage or configuration
  3  unreachable
  4  unauthorised
  5  user offline under --require-online")]
pub(super) struct EmitArgs {
    /// The user whose sockets get the event
    #[arg(required_unless_present = "batch")]
    user: Option<String>,

    /// The event's name
    #[arg(required_unless_present = "batch")]
    event: Option<String>,

    /// The payload as JSON, @FILE to read it from a file, - from stdin [default: null]
    #[arg(allow_negative_numbers = true)]
    payload: Option<String>,

    /// Send one event per line of this file, - for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "event", "payload"])]
    batch: Option<PathBuf>,

    /// How many lines of a batch to send at once; lines of one user stay in order
    #[arg(long, value_name = "N", default_value = "16", requires = "batch")]
    concurrency: NonZeroUsize,

    /// Where to keep the lines of a batch that failed [default: FILE.failed.ndjson]
    #[arg(long, value_name = "FILE", requires = "batch")]
    failed: Option<PathBuf>,

    /// Fail with exit code 5 if the user has no socket
    #[arg(long)]
    require_online: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: EmitArgs, context: &Context) -> Result<(), Failure> {
    let (Some(user), Some(event)) = (&args.user, &args.event) else {
        return batch::run(args, context).await;
    };
    let user = UserId::try_from(user.as_str()).map_err(Failure::usage)?;
    let event = EventName::try_from(event.as_str()).map_err(Failure::usage)?;
    let payload = args
        .payload
        .as_deref()
        .map(|payload| parse_payload(payload, &args.target))
        .transpose()?;
    let client = args.target.client(context)?;
    let answer = client.emit(&user, &event, payload.as_deref()).await?;
    output::result(args.json, &answer, describe(&answer))?;
    if args.require_online {
        require_online(&user, &answer)?;
    }
    Ok(())
}

fn describe(answer: &EmitAnswer) -> String {
    match (answer.online, answer.nodes) {
        (Some(false), _) => "sent, but the user is offline".into(),
        (Some(true), Some(1)) => "sent; the user is online on 1 node".into(),
        (Some(true), Some(nodes)) => format!("sent; the user is online on {nodes} nodes"),
        (Some(true), None) => "sent; the user is online".into(),
        (None, _) => "sent".into(),
    }
}

fn require_online(user: &UserId, answer: &EmitAnswer) -> Result<(), Failure> {
    match answer.online {
        Some(true) => Ok(()),
        Some(false) => {
            let error = anyhow!("user {user} has no socket; the event was not delivered");
            Err(Failure::new(Exit::Offline, error))
        }
        None => Err(anyhow!(
            "the node does not say whether user {user} is online; check that it reaches Redis and is not older than this command"
        )
        .into()),
    }
}

/// Reads the payload from the argument, a file or stdin, and checks that it is JSON.
fn parse_payload(argument: &str, target: &Target) -> Result<Box<RawValue>, Failure> {
    let (text, origin) = match argument.strip_prefix('@') {
        Some(path) => {
            let text = read_text(&PathBuf::from(path)).map_err(Failure::usage)?;
            (text, path)
        }
        None if argument == "-" => {
            if target.uses_stdin() {
                let error =
                    anyhow!("stdin cannot hold both the secret and the payload; put one in a file");
                return Err(Failure::usage(error));
            }
            let text = read_text(&PathBuf::from("-")).map_err(Failure::usage)?;
            (text, "stdin")
        }
        None => (argument.to_owned(), "PAYLOAD"),
    };
    // Not trimmed, so that errors name the line and column of the file.
    let text = text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text);
    let checked = RawValue::from_string(text);
    checked
        .with_context(|| format!(r#"{origin} is not JSON; a string needs quotes, as in '"hello"'"#))
        .map_err(Failure::usage)
}
