//! `sockd token mint`: tokens that the configured server accepts.

use std::{num::NonZeroU64, path::PathBuf, time::Duration};

use anyhow::anyhow;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{
    auth::{
        self,
        mint::{Claims, TokenMinter},
    },
    cli::{
        Context,
        failure::Failure,
        input::{random, read_secret},
        output::{self, Results},
    },
    config::{ALGORITHMS, Algorithm, Flag},
    id::{IdFormats, InvalidId, SessionId, UserId},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sockd token mint
  sockd token mint --user 64b7f0c2a1d2e3f405162738 --ttl 7d --claim role=admin
  sockd token mint --alg ES256 --key @private.pem
  sockd token mint --count 10000 > tokens.ndjson

Exit codes:
  0  ok
  1  failed
  2  usage or configuration, such as a key that cannot sign")]
pub(in crate::cli) struct MintArgs {
    /// The token's user [default: a random one, printed to stderr]
    #[arg(long)]
    user: Option<String>,

    /// The token's session [default: a random one, printed to stderr]
    #[arg(long)]
    session: Option<String>,

    /// How long the token is valid, such as 30s, 1h or 7d; none never expires
    #[arg(long, default_value = "1h", value_parser = parse_ttl)]
    ttl: Ttl,

    /// An additional claim, which overrides all others; VALUE is JSON, or else a string
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = parse_claim)]
    claims: Vec<(String, Value)>,

    /// The algorithm [default: the first configured one that fits the key]
    #[arg(long, value_parser = algorithm_parser(), hide_possible_values = true)]
    alg: Option<Algorithm>,

    /// A file with the secret or the private key, as @FILE; - for stdin [default: the configured
    /// secret]
    #[arg(long, value_name = "@FILE", value_parser = parse_key)]
    key: Option<PathBuf>,

    /// Mint N tokens as one JSON object per line, each for a new user and session unless given
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,

    /// Print the token as JSON with its user and session
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy)]
struct Ttl(Option<Duration>);

/// A new token with its user and session.
#[derive(Serialize)]
struct Minted<'a> {
    user_id: &'a UserId,
    session_id: &'a SessionId,
    token: String,
}

pub(super) fn run(args: MintArgs, context: &Context) -> Result<(), Failure> {
    let mut flags = Vec::new();
    if let Some(path) = &args.key {
        let key = read_secret(path)?;
        flags.push(Flag {
            name: "--key",
            key: "auth.secret",
            value: key.expose().to_owned(),
        });
    }
    let settings = context.settings(flags)?;
    let (auth, ids) = (settings.auth()?, settings.ids()?);
    let key = auth.secrets.first().ok_or_else(|| {
        Failure::usage(anyhow!(
            "no key to sign with: a key set only verifies; give the private key by --key, or set JWT_SECRET"
        ))
    })?;
    let minter = TokenMinter::new(&auth, key, args.alg).map_err(Failure::usage)?;
    let algorithm = format!("{:?}", minter.algorithm());
    if !auth.algorithms.contains(&algorithm) {
        output::warning(format_args!(
            "the configured server accepts only {} and refuses {algorithm}; list it in JWT_ALGORITHMS",
            auth.algorithms.join(", ")
        ));
    }
    let minting = Minting {
        minter,
        user: parse_id("user", args.user.as_deref(), |text| ids.parse_user(text))?,
        session: parse_id("session", args.session.as_deref(), |text| {
            ids.parse_session(text)
        })?,
        ids,
        ttl: args.ttl.0,
        claims: args.claims.into_iter().collect(),
    };
    match args.count {
        Some(count) => minting.many(count.get()),
        None => minting.one(args.json),
    }
}

struct Minting {
    minter: TokenMinter,
    ids: IdFormats,
    user: Option<UserId>,
    session: Option<SessionId>,
    ttl: Option<Duration>,
    claims: Map<String, Value>,
}

impl Minting {
    fn one(&self, as_json: bool) -> Result<(), Failure> {
        let (user, session) = self.ids()?;
        if self.user.is_none() {
            output::note(format_args!("user     {user}"));
        }
        if self.session.is_none() {
            output::note(format_args!("session  {session}"));
        }
        let minted = self.mint(&user, &session)?;
        output::result(as_json, &minted, &minted.token)?;
        Ok(())
    }

    fn many(&self, count: u64) -> Result<(), Failure> {
        let progress = output::bar(count, "[{bar:32}] {pos}/{len} {elapsed}");
        let mut results = Results::beside(&progress);
        for _ in 0..count {
            let (user, session) = self.ids()?;
            results.json(&self.mint(&user, &session)?)?;
            progress.inc(1);
        }
        progress.finish_and_clear();
        results.finish()?;
        Ok(())
    }

    fn mint<'a>(
        &self,
        user_id: &'a UserId,
        session_id: &'a SessionId,
    ) -> Result<Minted<'a>, Failure> {
        let claims = Claims {
            user: user_id,
            session: session_id,
            issued_at: auth::unix_time(),
            ttl: self.ttl,
            extra: &self.claims,
        };
        let token = self.minter.mint(&claims).map_err(anyhow::Error::from)?;
        Ok(Minted {
            user_id,
            session_id,
            token,
        })
    }

    /// The user and the session, generated if they were not given.
    fn ids(&self) -> Result<(UserId, SessionId), Failure> {
        let user = match &self.user {
            Some(user) => user.clone(),
            None => generated(self.ids.generate_user(random()?))?,
        };
        let session = match &self.session {
            Some(session) => session.clone(),
            None => generated(self.ids.generate_session(random()?))?,
        };
        Ok((user, session))
    }
}

fn parse_id<T>(
    name: &str,
    given: Option<&str>,
    parse: impl Fn(&str) -> Result<T, InvalidId>,
) -> Result<Option<T>, Failure> {
    let parsed = given.map(parse).transpose();
    parsed.map_err(|error| Failure::usage(anyhow!("--{name}: {error}; see ids.{name}")))
}

/// An argument that cannot be parsed. clap prints only the message, so it includes the cause.
#[derive(Debug, PartialEq, Error)]
enum ArgumentError {
    #[error("{0}; write 30s, 1h, 7d or none")]
    Ttl(humantime::DurationError),
    #[error("write NAME=VALUE")]
    Claim,
    #[error("write @FILE, or - for stdin; never the key itself, which ps would show")]
    Key,
}

fn parse_ttl(text: &str) -> Result<Ttl, ArgumentError> {
    if text == "none" {
        return Ok(Ttl(None));
    }
    humantime::parse_duration(text)
        .map(|ttl| Ttl(Some(ttl)))
        .map_err(ArgumentError::Ttl)
}

fn parse_claim(text: &str) -> Result<(String, Value), ArgumentError> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or(ArgumentError::Claim)?;
    let parsed = serde_json::from_str(value);
    let value = parsed.unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

/// The file after the `@`. A key itself would be visible in the process list.
fn parse_key(text: &str) -> Result<PathBuf, ArgumentError> {
    match text.strip_prefix('@') {
        Some(path) if !path.is_empty() => Ok(path.into()),
        None if text == "-" => Ok(text.into()),
        _ => Err(ArgumentError::Key),
    }
}

fn algorithm_parser() -> impl TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(ALGORITHMS).try_map(|name| name.parse::<Algorithm>())
}

fn generated<T>(id: Result<T, InvalidId>) -> Result<T, Failure> {
    id.map_err(|error| {
        let context = "failed to generate an identifier; give --user and --session";
        anyhow!(error).context(context).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_json_if_it_parses_and_else_a_string() {
        let claim = |text| parse_claim(text).unwrap().1;
        assert_eq!(claim("a=1"), Value::from(1));
        assert_eq!(claim("a=admin"), Value::from("admin"));
        assert_eq!(claim("a=x=y"), Value::from("x=y"));
        assert_eq!(claim("a=[1]"), serde_json::json!([1]));
        assert_eq!(claim("a="), Value::from(""));
        assert!(parse_claim("a").is_err());
        assert!(parse_claim("=a").is_err());
    }

    #[test]
    fn a_key_is_read_from_a_file_and_never_an_argument() {
        assert_eq!(parse_key("@k.pem"), Ok("k.pem".into()));
        assert_eq!(parse_key("-"), Ok("-".into()));
        assert!(
            parse_key("hunter2")
                .unwrap_err()
                .to_string()
                .contains("@FILE")
        );
        assert!(parse_key("@").is_err());
    }
}
