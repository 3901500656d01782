//! As whom to listen: the token that the socket joins with.

use std::{fmt, time::Duration};

use anyhow::anyhow;
use serde_json::Map;

use super::ListenArgs;
use crate::{
    auth::{
        self,
        mint::{Claims, TokenMinter},
    },
    cli::{
        Context,
        failure::Failure,
        input::{random, read_secret},
        sessions,
    },
    id::{IdFormats, SessionId, UserId},
    secret::Secret,
};

/// Long enough to listen for a day; the token never leaves this process but to join.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) enum Identity {
    Given(Secret),
    Minted {
        minter: TokenMinter,
        user: UserId,
        session: SessionId,
    },
}

impl Identity {
    /// # Errors
    /// There is no such token, none can be made, or the user has no active session.
    pub(super) async fn of(args: &ListenArgs, context: &Context) -> Result<Self, Failure> {
        let Some(user) = &args.user else {
            let file = args.token_file.as_deref().unwrap_or("-".as_ref());
            return Ok(Self::Given(read_secret(file)?));
        };
        let settings = context.settings(Vec::new())?;
        let (auth, ids) = (settings.auth()?, settings.ids()?);
        let user = ids.parse_user(user).map_err(Failure::usage)?;
        let minter = match auth.secrets.first() {
            Some(key) => TokenMinter::new(&auth, key, None).map_err(|error| anyhow!(error)),
            None => Err(anyhow!("a key set only verifies")),
        };
        let minter = minter.map_err(|error| {
            Failure::usage(error.context(
                "no token can be made with the configured key; give one with --token-file",
            ))
        })?;
        let session = session(args, context, &ids, &user).await?;
        Ok(Self::Minted {
            minter,
            user,
            session,
        })
    }

    /// The token to join with now.
    ///
    /// # Errors
    /// The key turns out to be damaged.
    pub(super) fn token(&self) -> Result<Secret, Failure> {
        match self {
            Self::Given(token) => Ok(token.clone()),
            Self::Minted {
                minter,
                user,
                session,
            } => {
                let claims = Claims {
                    user,
                    session,
                    issued_at: auth::unix_time(),
                    ttl: Some(TOKEN_TTL),
                    extra: &Map::new(),
                };
                let token = minter.mint(&claims).map_err(anyhow::Error::from)?;
                Ok(Secret::new(token))
            }
        }
    }
}

/// The session that was asked for, else the active one: another would be refused, or become active
/// and shut out the user's own.
async fn session(
    args: &ListenArgs,
    context: &Context,
    ids: &IdFormats,
    user: &UserId,
) -> Result<SessionId, Failure> {
    if args.new_session {
        let session = ids.generate_session(random()?);
        return session.map_err(|error| {
            Failure::usage(
                anyhow!(error).context("no session can be made up; give one with --session"),
            )
        });
    }
    let session = match &args.session {
        Some(session) => session.clone(),
        None => sessions::active(user, &args.target, context)
            .await?
            .ok_or_else(|| {
                anyhow!(
                    "user {user} has no active session to join as; name one with --session, or make one up with --new-session: the user's other sessions are then refused until the next force-logout"
                )
            })?,
    };
    let session = ids.parse_session(&session);
    session.map_err(|error| Failure::usage(anyhow!("{error}; see ids.session")))
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("the given token's user"),
            Self::Minted { user, session, .. } => write!(f, "user {user}, session {session}"),
        }
    }
}
