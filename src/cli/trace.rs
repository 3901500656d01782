//! `sockd trace`: what happens to one user, live, on all nodes.

use std::{fmt::Write as _, future::pending, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::{Context, failure::Failure, output, target::Target};
use crate::{client::Lines, id::UserId, lifecycle::Signals};

#[derive(Debug, Args)]
#[command(after_help = "\
Shows handshakes and refusals with their reasons, emits, events, logouts and kicks, and how sockets
end. It ends with the command: then no node keeps anything of the user any more. A refusal of a token
with a bad signature is nobody's, and is not shown.

Examples:
  sockd trace 64b7f0c2a1d2e3f405162738
  sockd trace 64b7f0c2a1d2e3f405162738 --payloads --json --timeout 5m

Exit codes:
  0  ok: ended by --timeout, SIGINT or SIGTERM
  1  failed: the node refused, or ended it
  2  usage or configuration
  3  unreachable, or the connection was lost
  4  unauthorised")]
pub(super) struct TraceArgs {
    /// The user to trace
    user: String,

    /// Show the payloads of events too
    #[arg(long)]
    payloads: bool,

    /// End after this time, such as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: TraceArgs, context: &Context) -> Result<(), Failure> {
    let user = UserId::try_from(args.user.as_str()).map_err(Failure::usage)?;
    let client = args.target.client(context)?;
    let mut signals = Signals::listen().context("failed to listen for signals")?;
    let over = async {
        match args.timeout {
            Some(timeout) => sleep(timeout).await,
            None => pending().await,
        }
    };
    let traced = async {
        let lines = client.trace(&user, args.payloads).await?;
        follow(lines, args.json).await
    };
    tokio::select! {
        done = traced => done,
        () = over => Ok(()),
        _ = signals.next() => Ok(()),
    }
}

/// Prints lines until there are no more.
async fn follow(mut lines: Lines, as_json: bool) -> Result<(), Failure> {
    while let Some(line) = lines.next().await? {
        let line = if as_json {
            // Whatever else a node sends is one line and no control sequence.
            output::visible(&line)
        } else {
            text(&line)
        };
        output::print(line).await?;
    }
    Err(anyhow!("the node has ended the trace; it may be shutting down, ask another").into())
}

/// A line for people: when, where, what, and the rest as it is.
fn text(line: &str) -> String {
    let Ok(mut members) = serde_json::from_str::<Map<String, Value>>(line) else {
        return output::visible(line);
    };
    let mut take = |key: &str| match members.remove(key) {
        Some(Value::String(text)) => text,
        other => other.unwrap_or_default().to_string(),
    };
    let (at, node, what) = (take("at"), take("node"), take("what"));
    let node: String = node.chars().take(8).collect();
    let mut text = format!("{at}  {node}  {what:15}");
    for (key, value) in &members {
        let value = match value {
            // An id could look like more fields, which two blanks part.
            Value::String(text) if text.contains("  ") || text.starts_with(['"', ' ']) => {
                format!("{text:?}")
            }
            Value::String(text) => text.clone(),
            Value::Null => continue,
            other => other.to_string(),
        };
        // A string takes everything.
        write!(text, "  {key}={value}").ok();
    }
    output::visible(text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_in_one_and_cannot_control_the_terminal() {
        let line = r#"{"at":"T","node":"0123456789","what":"refused","reason":"A","why":"\u001b[2J\nx","address":null,"n":1}"#;
        assert_eq!(
            text(line),
            "T  01234567  refused          n=1  reason=A  why=[2Jx"
        );
        assert_eq!(text("\u{1b}no json"), "no json");
        let line = r#"{"at":"T","node":"n","what":"began","user":"x  reason=\"a\"","why":"a b"}"#;
        assert_eq!(
            text(line),
            r#"T  n  began            user="x  reason=\"a\""  why=a b"#
        );
    }
}
