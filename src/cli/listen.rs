//! `sockd listen`: connects as a user's client would, and prints events as they come.

mod identity;
mod packet;
mod socket;

use std::{
    future::pending,
    num::NonZeroU64,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::sleep;

use self::{
    identity::Identity,
    packet::Event,
    socket::{Dialer, Socket, SocketError, backoff},
};
use super::{
    Context,
    failure::{Exit, Failure},
    input::random,
    output,
    target::Target,
};
use crate::lifecycle::Signals;

#[derive(Debug, Args)]
#[command(
    override_usage = "\
sockd listen [OPTIONS] <USER>
       sockd listen [OPTIONS] --token-file <PATH>",
    mut_arg("url", |url| url.help(
        "The address that clients connect to, such as https://push.example.com [default: \
         SOCKD_URL, else the configured host and port]"
    )),
    mut_arg("secret_file", |file| file.help(
        "A file with the secret for the internal API, - for stdin; needed only to ask a node that \
         keeps its sessions in memory for the active one [default: the configured secret]"
    ))
)]
#[command(after_help = "\
Single login:
  A user joins as the active session, beside the user's own sockets: this renews the session, and
  a force-logout closes it like any other socket. Without an active session it fails, unless
  --new-session or --session names one: that becomes the active session, and the user's other
  sessions are refused until the next force-logout.

Examples:
  sockd listen 64b7f0c2a1d2e3f405162738
  sockd listen 64b7f0c2a1d2e3f405162738 --json --count 1 --timeout 30s
  sockd listen --token-file token.jwt

Exit codes:
  0  ok: ended by --count, or without it by --timeout, SIGINT or SIGTERM
  1  failed: ended by the server, or before --count was reached
  2  usage or configuration
  3  unreachable, or it cannot reach Redis
  4  unauthorised: the token or the session is refused")]
pub(super) struct ListenArgs {
    /// The user whose events to print; the token is made with the configured secret
    #[arg(required_unless_present = "token_file")]
    user: Option<String>,

    /// A file with the token to connect with, - for stdin
    #[arg(long, value_name = "PATH", conflicts_with_all = ["user", "session", "new_session", "secret_file"])]
    token_file: Option<PathBuf>,

    /// The session to join as [default: the user's active one]
    #[arg(long)]
    session: Option<String>,

    /// Make up a session and make it active, for a user who has none
    #[arg(long, conflicts_with = "session")]
    new_session: bool,

    /// End after N events
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,

    /// End after this time, such as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,

    /// Fail when there is no connection, instead of trying again
    #[arg(long)]
    once: bool,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: ListenArgs, context: &Context) -> Result<(), Failure> {
    let identity = Identity::of(&args, context).await?;
    let (url, way, tls) = args.target.clients_url(context)?;
    let dialer = Dialer::new(&url, way, &tls)?;
    let signals = Signals::listen().context("failed to listen for signals")?;
    let mut listener = Listener {
        args: &args,
        identity,
        dialer,
        socket: None,
        events: 0,
        has_joined: false,
        last_error: None,
    };
    let done = tokio::select! {
        done = listener.listen() => done,
        () = stop(signals, args.timeout) => listener.verdict(),
    };
    if let Some(socket) = listener.socket {
        socket.close().await;
    }
    done
}

/// Resolves at the timeout, or on SIGINT or SIGTERM.
async fn stop(mut signals: Signals, timeout: Option<Duration>) {
    let timeout = async {
        match timeout {
            Some(timeout) => sleep(timeout).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = timeout => {}
        _ = signals.next() => {}
    }
}

struct Listener<'a> {
    args: &'a ListenArgs,
    identity: Identity,
    dialer: Dialer,
    socket: Option<Socket>,
    events: u64,
    has_joined: bool,
    last_error: Option<SocketError>,
}

impl Listener<'_> {
    /// Prints events until enough have come; connects again as stock clients do.
    async fn listen(&mut self) -> Result<(), Failure> {
        let mut attempts = 0;
        loop {
            let error = match self.dialer.connect(&self.identity.token()?).await {
                Ok(socket) => {
                    attempts = 0;
                    self.greet();
                    match self.follow(socket).await? {
                        Some(error) => error,
                        None => return Ok(()),
                    }
                }
                Err(error) => error,
            };
            self.socket = None;
            if self.args.once || !error.is_temporary() {
                return Err(error.into());
            }
            let delay = backoff(attempts, random()?);
            attempts += 1;
            let seconds = delay.as_secs_f64();
            output::note(format_args!("{error}; trying again in {seconds:.1} s"));
            self.last_error = Some(error);
            sleep(delay).await;
        }
    }

    /// Prints the events of one socket; returns why it ended, or nothing after the last event.
    async fn follow(&mut self, socket: Socket) -> Result<Option<SocketError>, Failure> {
        let socket = self.socket.insert(socket);
        loop {
            let event = match socket.next().await {
                Ok(event) => event,
                Err(error) => return Ok(Some(error)),
            };
            let line = if self.args.json {
                output::json(&Line::from(&event))?
            } else {
                text(&event)
            };
            output::print(line).await?;
            self.events += 1;
            if self
                .args
                .count
                .is_some_and(|count| self.events >= count.get())
            {
                return Ok(None);
            }
        }
    }

    fn greet(&mut self) {
        let is_first = !std::mem::replace(&mut self.has_joined, true);
        let (identity, url) = (&self.identity, self.dialer.url());
        output::note(format_args!("listening as {identity} at {url}"));
        if is_first && self.args.new_session {
            output::warning(
                "this session is now the user's active one; others are refused until the next force-logout",
            );
        }
    }

    /// What it means that the listening is stopped now.
    fn verdict(&mut self) -> Result<(), Failure> {
        if !self.has_joined {
            let error = match self.last_error.take() {
                Some(error) => anyhow::Error::new(error),
                None => anyhow!("no answer from {}", self.dialer.url()),
            };
            return Err(Failure::new(Exit::Unreachable, error));
        }
        match self.args.count {
            Some(count) if self.events < count.get() => {
                let events = self.events;
                Err(anyhow!("received only {events} of {count} events").into())
            }
            _ => Ok(()),
        }
    }
}

/// An event as JSON.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    event: &'a str,
    payload: &'a RawValue,
}

impl<'a> From<&'a Event> for Line<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            at: now(),
            event: &event.name,
            payload: &event.payload,
        }
    }
}

/// An event for people. A payload cannot send control sequences to their terminal.
fn text(event: &Event) -> String {
    let text = format!("{}  {}  {}", now(), event.name, event.payload.get());
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        let exit = match &error {
            SocketError::Url(_) => Exit::Usage,
            SocketError::Unreachable { .. }
            | SocketError::Untrusted { .. }
            | SocketError::TimedOut { .. }
            | SocketError::Overloaded { .. }
            | SocketError::Lost(_)
            | SocketError::Closed
            | SocketError::Silent(_) => Exit::Unreachable,
            SocketError::Refused { reason, .. } => match reason.as_str() {
                "TOKEN_MISSING" | "TOKEN_INVALID" | "SESSION_MISMATCH" => Exit::Unauthorized,
                "AUTH_UNAVAILABLE" => Exit::Unreachable,
                _ => Exit::Failed,
            },
            SocketError::Setup(_)
            | SocketError::Relay(_)
            | SocketError::NoSocketIo { .. }
            | SocketError::Disconnected
            | SocketError::Unintelligible(_) => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let event = Event {
            name: "a\u{1b}[2J".into(),
            payload: RawValue::from_string("\"\u{9b}31m\"".into()).unwrap(),
        };
        let shown = text(&event);
        assert!(shown.ends_with(r#"  a\u{1b}[2J  "\u{9b}31m""#), "{shown}");
    }
}
