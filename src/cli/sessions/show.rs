//! `sockd sessions show`: one user's session and sockets, on all nodes.

use clap::Args;

use crate::{
    cli::{
        Context,
        failure::{Exit, Failure},
        output::{self, Results},
        target::Target,
    },
    id::UserId,
    wire::{SessionReport, UserAnswer},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Columns:
  ADDRESS is where the client is; behind a proxy, as server.trusted_proxies and
          server.proxy_protocol let the node know
  SINCE   is when the socket joined

Exit codes:
  0  ok: everything is known
  1  failed: the node refused; or something is missing, which stderr names
  2  usage or configuration
  3  unreachable
  4  unauthorised")]
pub(in crate::cli) struct ShowArgs {
    /// The user to show
    user: String,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: ShowArgs, context: &Context) -> Result<(), Failure> {
    let user = UserId::try_from(args.user.as_str()).map_err(Failure::usage)?;
    let client = args.target.client(context)?;
    let answer = client.user(&user).await?;
    let mut results = Results::default();
    if args.json {
        results.json(&answer)?;
    } else {
        show(&answer, &mut results)?;
    }
    results.finish()?;
    let missing = missing(&answer);
    missing.iter().for_each(output::warning);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Failure::reported(Exit::Failed))
    }
}

fn show(answer: &UserAnswer, results: &mut Results) -> Result<(), Failure> {
    results.line(format_args!("session  {}", session(&answer.session)))?;
    let count: usize = answer.nodes.iter().filter_map(|node| node.sockets).sum();
    let sockets = output::sockets(count as u64);
    let truncated = if answer.truncated {
        format!("; {} of them:", answer.sockets.len())
    } else {
        String::new()
    };
    results.line(format_args!("online   {sockets}{truncated}"))?;
    if answer.sockets.is_empty() {
        return Ok(());
    }
    let rows = answer.sockets.iter().map(|row| {
        let address = row.socket.address.as_deref().unwrap_or("?");
        [
            row.node.as_str(),
            &row.socket.transport,
            address,
            &row.socket.since,
            &row.socket.session_id,
        ]
        .map(output::visible)
    });
    let header = ["NODE", "TRANSPORT", "ADDRESS", "SINCE", "SESSION"].map(str::to_owned);
    results.line("")?;
    output::table([header].into_iter().chain(rows), results)?;
    Ok(())
}

fn session(session: &SessionReport) -> String {
    match session {
        SessionReport::Stored {
            session_id,
            expires_in_seconds,
            expiry_unknown,
        } => {
            let session = output::visible(session_id);
            match expires_in_seconds {
                Some(seconds) => format!("{session}, expires in {}", output::span(*seconds)),
                None if *expiry_unknown => {
                    format!("{session}, expires at an unknown time (grant sockd +ttl)")
                }
                None => format!("{session}, never expires"),
            }
        }
        SessionReport::None => "none".to_owned(),
        SessionReport::Unintelligible => {
            "something is stored that sockd does not understand".to_owned()
        }
        SessionReport::Unknown => "unknown".to_owned(),
    }
}

/// What the response lacks, and why.
fn missing(answer: &UserAnswer) -> Vec<String> {
    let mut missing = Vec::new();
    if answer.session == SessionReport::Unknown {
        missing.push("the session is unknown, as Redis does not answer".to_owned());
    }
    if let Some(reason) = &answer.reason {
        let reason = output::visible(reason);
        missing.push(format!(
            "sockets of other nodes may be missing, as the node is not ready: {reason}"
        ));
    }
    missing.extend(answer.nodes.iter().filter_map(|asked| {
        let why = output::unanswered(&asked.node, &asked.release, asked.answered)?;
        Some(format!("{why}; its sockets are missing"))
    }));
    missing
}
