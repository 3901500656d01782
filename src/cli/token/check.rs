//! `sockd token check`: the server's verdict on a token, with its reason.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::{
    auth::{self, TokenVerifier, strip_bearer},
    cli::{
        Context,
        failure::{Exit, Failure},
        instance::read_text,
        output,
    },
    id::{SessionId, UserId},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// The token, with or without Bearer before it; - to read it from stdin
    token: String,

    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Verdict {
    Valid {
        valid: bool,
        user_id: UserId,
        session_id: SessionId,
        /// Seconds since the epoch, and from now; absent where the token never expires.
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

pub(super) fn run(args: CheckArgs, context: &Context) -> Result<(), Failure> {
    let settings = context.settings(Vec::new())?;
    let (auth, ids) = (settings.auth()?, settings.ids()?);
    let verifier = TokenVerifier::new(&auth, ids).map_err(Failure::usage)?;
    let raw = if args.token == "-" {
        read_text(Path::new("-")).map_err(Failure::usage)?
    } else {
        args.token
    };
    let now = auth::unix_time();
    match verifier.verify(strip_bearer(&raw), now) {
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
            let verdict = Verdict::Valid {
                valid: true,
                user_id: identity.user,
                session_id: identity.session,
                expires_at: identity.expires_at,
                expires_in_seconds,
            };
            output::result(args.json, &verdict, text)?;
            Ok(())
        }
        Err(error) => {
            let reason = format!("{:#}", anyhow::Error::from(error));
            let text = format!("invalid: {reason}");
            let verdict = Verdict::Invalid {
                valid: false,
                reason,
            };
            output::result(args.json, &verdict, text)?;
            Err(Failure::told(Exit::Failed))
        }
    }
}
