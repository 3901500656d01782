//! `sockd token check`: whether the server would accept a token, or why not.

use std::path::Path;

use anyhow::anyhow;
use clap::Args;
use serde::Serialize;

use crate::{
    auth::{self, TokenVerifier, strip_bearer},
    cli::{
        Context,
        failure::{Exit, Failure},
        input::read_text,
        output::{self, OutputError},
    },
    id::{SessionId, UserId},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sockd token check eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2ln
  sockd token mint | sockd token check -

With a key set (auth.jwks_url or auth.jwks_file) it reads the set first, as the server does.

Exit codes:
  0  valid
  1  not valid; the reason is on stdout; or the key set cannot be read
  2  usage or configuration")]
pub(in crate::cli) struct CheckArgs {
    /// The token, with or without Bearer before it; - to read it from stdin
    token: String,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum CheckResult {
    Valid {
        valid: bool,
        user_id: UserId,
        session_id: SessionId,
        /// Seconds since the epoch, and from now; absent if the token never expires.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_in_seconds: Option<u64>,
    },
    Invalid {
        valid: bool,
        reason: String,
    },
}

pub(super) async fn run(args: CheckArgs, context: &Context) -> Result<(), Failure> {
    let settings = context.settings(Vec::new())?;
    let (auth, ids) = (settings.auth()?, settings.ids()?);
    let verifier = TokenVerifier::new(&auth, ids)?;
    let raw = if args.token == "-" {
        read_text(Path::new("-")).map_err(Failure::usage)?
    } else {
        args.token
    };
    if let Some(jwks) = verifier.jwks() {
        jwks.load().await?;
    }
    let now = auth::unix_time();
    let judged = if auth::trim(&raw).is_empty() {
        Err(anyhow!("the token is empty (TOKEN_MISSING)"))
    } else {
        verifier.verify(strip_bearer(&raw), now).map_err(Into::into)
    };
    match judged {
        Ok(identity) => {
            let expires_in_seconds = identity.expires_at.map(|at| at.saturating_sub(now));
            let expiry = expires_in_seconds.map_or_else(
                || "never expires".to_owned(),
                |seconds| format!("expires in {}", output::span(seconds)),
            );
            let text = format!(
                "valid: user {}, session {}, {expiry}",
                identity.user, identity.session
            );
            let result = CheckResult::Valid {
                valid: true,
                user_id: identity.user,
                session_id: identity.session,
                expires_at: identity.expires_at,
                expires_in_seconds,
            };
            output::result(args.json, &result, text)?;
            Ok(())
        }
        Err(error) => {
            let reason = format!("{error:#}");
            let text = format!("invalid: {reason}");
            let result = CheckResult::Invalid {
                valid: false,
                reason,
            };
            // The exit code reports it even if stdout is closed.
            let printed = output::result(args.json, &result, text);
            match printed {
                Err(error @ OutputError::Failed(_)) => Err(error.into()),
                Ok(()) | Err(OutputError::Closed) => Err(Failure::reported(Exit::Failed)),
            }
        }
    }
}
