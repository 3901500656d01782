//! `sockd status`: the state of a node, or of all nodes.

mod frame;
mod rates;

use std::{
    io::{IsTerminal, stdout},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::{frame::frame, rates::Rates};
use super::{
    Context,
    failure::{Exit, Failure},
    output::{self, Results},
    target::Target,
};
use crate::{
    client::{Client, ClientError},
    lifecycle::Signals,
    wire::{StatusAnswer, StatusRow},
};

/// How long what happens is counted for the rates, without --watch.
const SAMPLE: Duration = Duration::from_secs(1);
/// Clears the screen of a terminal, and goes to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

#[derive(Debug, Args)]
#[command(after_help = "\
Rates are those of a second, or with --watch those since the line or screen before.

Examples:
  sockd status
  sockd status --all --watch
  sockd status --watch --json --interval 10s | jq '.nodes[0].rates'

Exit codes:
  0  ok: ready; with --watch, ended by SIGINT or SIGTERM
  1  failed: not ready, or not every node answered; or the node refused
  2  usage or configuration
  3  unreachable
  4  unauthorised")]
pub(super) struct StatusArgs {
    /// Show every node on the same Redis
    #[arg(long)]
    all: bool,

    /// Show it again and again, until Ctrl-C; with --json as a line each time
    #[arg(long)]
    watch: bool,

    /// How often with --watch, such as 500ms or 10s [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "watch")]
    interval: Option<Duration>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: StatusArgs, context: &Context) -> Result<(), Failure> {
    let client = args.target.client(context)?;
    let first = client.status(args.all).await?;
    if args.watch {
        let mut signals = Signals::listen().context("failed to listen for signals")?;
        return tokio::select! {
            done = watch(&args, &client, first) => done,
            _ = signals.next() => Ok(()),
        };
    }
    sleep(SAMPLE).await;
    let second = client.status(args.all).await?;
    let mut results = Results::default();
    let status = Status::new(&second, Some(&first));
    if args.json {
        results.json(&status)?;
    } else {
        results.line(frame(&status))?;
    }
    results.finish()?;
    let is_ready = |row: &StatusRow| row.status.as_ref().is_some_and(|status| status.ready);
    if second.complete && second.nodes.iter().all(is_ready) {
        Ok(())
    } else {
        Err(Failure::reported(Exit::Failed))
    }
}

/// Returns only if the result cannot be printed.
async fn watch(args: &StatusArgs, client: &Client, first: StatusAnswer) -> Result<(), Failure> {
    let mut tick = interval(args.interval.unwrap_or(2 * SAMPLE).max(SAMPLE / 10));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    let mut before = None;
    let mut now = Ok(first);
    loop {
        output::print(text(args, &now, before.as_ref())?).await?;
        before = now.ok();
        tick.tick().await;
        // A node that restarts is back soon.
        now = client.status(args.all).await;
    }
}

/// What is shown at a moment of the watch.
fn text(
    args: &StatusArgs,
    now: &Result<StatusAnswer, ClientError>,
    before: Option<&StatusAnswer>,
) -> Result<String, Failure> {
    let status = now.as_ref().map(|now| Status::new(now, before));
    Ok(match (args.json, status) {
        (true, Ok(status)) => output::json(&status)?,
        (true, Err(error)) => output::json(&Unknown {
            at: now_text(),
            error: error.to_string(),
        })?,
        (false, status) => {
            let text = status.map_or_else(ToString::to_string, |status| frame(&status));
            if stdout().is_terminal() {
                format!("{CLEAR}{}  {text}", now_text())
            } else {
                format!("{}\n{text}\n", now_text())
            }
        }
    })
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Status<'a> {
    at: String,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    nodes: Vec<Node<'a>>,
}

#[derive(Debug, Serialize)]
struct Node<'a> {
    #[serde(flatten)]
    row: &'a StatusRow,
    /// Absent without an earlier answer of the same process.
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<Rates>,
}

/// A node that did not answer while it was watched.
#[derive(Debug, Serialize)]
struct Unknown {
    at: String,
    error: String,
}

impl<'a> Status<'a> {
    fn new(now: &'a StatusAnswer, before: Option<&StatusAnswer>) -> Self {
        let rates = |row: &StatusRow| {
            let mut rows = before?.nodes.iter();
            let before = rows.find(|before| before.node == row.node)?;
            Rates::between(before.status.as_ref()?, row.status.as_ref()?)
        };
        let nodes = now.nodes.iter();
        Self {
            at: now_text(),
            complete: now.complete,
            reason: now.reason.as_deref(),
            nodes: nodes
                .map(|row| Node {
                    row,
                    rates: rates(row),
                })
                .collect(),
        }
    }
}

fn now_text() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
