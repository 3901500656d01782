//! Who the bearer of a token is, and whether the token may be believed.
//!
//! The verdicts are those of Node's `jsonwebtoken` and the TypeScript server around it, so that
//! every token that was good stays good and no other becomes so: no leeway, `exp` and `nbf`
//! optional but numbers, `kid`, `typ` and the rest of any type and without effect.
//!
//! jsonwebtoken verifies and signs, and knows nothing of these rules. It does not know ES512 either,
//! and takes a signature only in its canonical spelling. Unlike Node, sockd refuses `crit`.

/// The text of a key of the tests.
#[cfg(test)]
macro_rules! key {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/keys/",
            $name
        ))
    };
}

pub mod key;
pub mod mint;

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use base64::{
    Engine, alphabet,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD,
    },
};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::{
    config::{self, Algorithm},
    id::{IdFormat, IdFormats, InvalidId, SessionId, UserId},
    wire::Members,
};
use key::{KeyError, VerifyingKey};

/// The longest token, in bytes, that is looked at; it bounds the work that a stranger can cause.
pub const MAX_TOKEN: usize = 64 * 1024;

/// Tells good tokens from bad ones.
pub struct TokenVerifier {
    keys: Vec<VerifyingKey>,
    algorithms: Vec<String>,
    user_claim: String,
    session_claim: String,
    issuer: Option<String>,
    audience: Option<String>,
    ids: IdFormats,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    pub session: SessionId,
    /// The first whole second since the epoch at which the token is no longer good.
    pub expires_at: Option<u64>,
}

/// A configuration that tokens cannot be verified with.
#[derive(Debug, Error)]
pub enum AuthError {
    #[error("auth.secret is not set; set JWT_SECRET")]
    NoSecret,
    #[error(
        "JWT secret {number} of {count} cannot be used; mend JWT_SECRET, auth.secret, or the file it is read from"
    )]
    Key {
        number: usize,
        count: usize,
        source: KeyError,
    },
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TokenError {
    #[error("the token has more than {MAX_TOKEN} bytes")]
    TooLong,
    #[error("the token is not three base64url parts with dots between them")]
    Malformed,
    #[error("the token is not signed")]
    Unsigned,
    #[error("the token's header is not a JSON object")]
    Header,
    #[error("the token's header names no algorithm (\"alg\")")]
    NoAlgorithm,
    #[error("the token is signed with {found:?}, allowed are only {allowed}; see JWT_ALGORITHMS")]
    AlgorithmNotAllowed { found: String, allowed: String },
    #[error(
        "the token is signed with {0:?}, which does not fit the kind of key that is configured; see JWT_SECRET"
    )]
    AlgorithmWithoutKey(Algorithm),
    #[error(
        "the token's header says that members of it must be understood (\"crit\"), and sockd understands none"
    )]
    Critical,
    #[error("the signature is not by a configured key; see JWT_SECRET")]
    Signature,
    #[error("the token's payload is not a JSON object")]
    Payload,
    #[error("claim {0:?} is not a number")]
    NotANumber(&'static str),
    #[error("the token is good only in {} (\"nbf\")", whole(.0))]
    NotYetValid(Duration),
    #[error("the token ran out {} ago (\"exp\")", whole(.0))]
    Expired(Duration),
    #[error("claim \"aud\" is not the audience {0:?}; see auth.audience")]
    Audience(String),
    #[error("claim \"iss\" is not the issuer {0:?}; see auth.issuer")]
    Issuer(String),
    #[error("claim {0:?} is missing")]
    Missing(String),
    #[error("claim {0:?} is not a string")]
    NotAString(String),
    #[error(
        "claim {0:?} is neither a string nor a whole number from 0 to 2^53 - 1; write a larger one as a string"
    )]
    NotAnInteger(String),
    #[error("claim {claim:?} is of the wrong form")]
    Id { claim: String, source: InvalidId },
}

impl TokenVerifier {
    /// # Errors
    /// No secret, or one that is a PEM without a usable key.
    pub fn new(auth: &config::Auth, ids: IdFormats) -> Result<Self, AuthError> {
        let algorithms = known(&auth.algorithms);
        let count = auth.secrets.len();
        let mut keys = Vec::with_capacity(count);
        for (at, secret) in auth.secrets.iter().enumerate() {
            let key = VerifyingKey::new(secret, &algorithms).map_err(|source| AuthError::Key {
                number: at + 1,
                count,
                source,
            })?;
            keys.push(key);
        }
        if count == 0 {
            return Err(AuthError::NoSecret);
        }
        Ok(Self {
            keys,
            algorithms: auth.algorithms.clone(),
            user_claim: auth.user_claim.clone(),
            session_claim: auth.session_claim.clone(),
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            ids,
        })
    }

    /// Judges a token at the time `now`, in whole seconds since the epoch ([`unix_time`]).
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        let payload = self.verify_signature(token)?;
        let payload = String::from_utf8_lossy(&payload);
        let claims = members(&payload).ok_or(TokenError::Payload)?;
        let expires_at = verify_times(&claims, now)?;
        self.verify_origin(&claims)?;
        let user = id_claim(&claims, &self.user_claim, &self.ids.user)?;
        let session = id_claim(&claims, &self.session_claim, &self.ids.session)?;
        let invalid = |claim: &str| {
            let claim = claim.to_owned();
            |source| TokenError::Id { claim, source }
        };
        Ok(Identity {
            user: self
                .ids
                .parse_user(trim(&user))
                .map_err(invalid(&self.user_claim))?,
            session: self
                .ids
                .parse_session(trim(&session))
                .map_err(invalid(&self.session_claim))?,
            expires_at,
        })
    }

    /// The payload of a token that one of the keys has signed.
    fn verify_signature(&self, token: &str) -> Result<Vec<u8>, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if [header, payload].iter().any(|part| part.is_empty())
            || ![header, payload, signature].into_iter().all(is_base64url)
        {
            return Err(TokenError::Malformed);
        }
        if signature.is_empty() {
            return Err(TokenError::Unsigned);
        }
        let header = base64_lenient(header).ok_or(TokenError::Malformed)?;
        let algorithm = self.algorithm(&header)?;
        if !self.keys.iter().any(|key| key.fits(algorithm)) {
            return Err(TokenError::AlgorithmWithoutKey(algorithm));
        }
        let mut keys = self.keys.iter();
        if !keys.any(|key| key.verifies(algorithm, message, signature)) {
            return Err(TokenError::Signature);
        }
        base64_lenient(payload).ok_or(TokenError::Malformed)
    }

    /// The algorithm that a header names, if it is allowed.
    fn algorithm(&self, header: &[u8]) -> Result<Algorithm, TokenError> {
        // Node reads the header as Latin-1, so that it need not be UTF-8.
        let header: String = header.iter().copied().map(char::from).collect();
        let members = members(&header).ok_or(TokenError::Header)?;
        let name = members.get("alg").and_then(string);
        let name = name.ok_or(TokenError::NoAlgorithm)?;
        let not_allowed = || TokenError::AlgorithmNotAllowed {
            found: name.chars().take(32).collect(),
            allowed: self.algorithms.join(", "),
        };
        if !self.algorithms.contains(&name) {
            return Err(not_allowed());
        }
        let algorithm = name.parse().map_err(|_| not_allowed())?;
        if members.get("crit").is_some() {
            return Err(TokenError::Critical);
        }
        Ok(algorithm)
    }

    fn verify_origin(&self, claims: &Members<'_>) -> Result<(), TokenError> {
        let is = |raw: &RawValue, wanted: &str| string(raw).is_some_and(|text| text == wanted);
        if let Some(audience) = &self.audience {
            let matches = claims.get("aud").is_some_and(|raw| {
                let list = serde_json::from_str::<Vec<&RawValue>>(raw.get());
                list.map_or_else(
                    |_| is(raw, audience),
                    |list| list.into_iter().any(|raw| is(raw, audience)),
                )
            });
            if !matches {
                return Err(TokenError::Audience(audience.clone()));
            }
        }
        if let Some(issuer) = &self.issuer
            && !claims.get("iss").is_some_and(|raw| is(raw, issuer))
        {
            return Err(TokenError::Issuer(issuer.clone()));
        }
        Ok(())
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// The whole seconds since the epoch, which is what tokens are judged by.
pub fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

/// Trims a text and takes `Bearer` and the blanks after it off, in any case; a lone `Bearer` stays.
pub fn strip_bearer(raw: &str) -> &str {
    const SCHEME: &str = "bearer";
    let text = trim(raw);
    match text.split_at_checked(SCHEME.len()) {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case(SCHEME) && rest.starts_with(is_blank) =>
        {
            rest.trim_start_matches(is_blank)
        }
        _ => text,
    }
}

/// Trims as JavaScript's `trim` does.
pub fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// What `\s` and `trim` take for a blank in JavaScript (ECMA-262, WhiteSpace and LineTerminator).
pub fn is_blank(c: char) -> bool {
    const NEXT_LINE: char = '\u{85}';
    const BYTE_ORDER_MARK: char = '\u{feff}';
    (c.is_whitespace() && c != NEXT_LINE) || c == BYTE_ORDER_MARK
}

fn members(json: &str) -> Option<Members<'_>> {
    let is_object = json.trim_ascii_start().starts_with('{');
    is_object.then(|| Members::parse(json).ok()).flatten()
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

fn id_claim(claims: &Members<'_>, name: &str, format: &IdFormat) -> Result<String, TokenError> {
    let raw = claims.get(name);
    let raw = raw.ok_or_else(|| TokenError::Missing(name.to_owned()))?;
    let text = string(raw).or_else(|| format.of_number(raw.get()));
    text.ok_or_else(|| match format {
        IdFormat::Integer => TokenError::NotAnInteger(name.to_owned()),
        _ => TokenError::NotAString(name.to_owned()),
    })
}

/// Checks `nbf` and `exp`, and returns the first second at which the token is no longer good.
/// JavaScript compares them as `f64`; the casts back saturate.
fn verify_times(claims: &Members<'_>, now: u64) -> Result<Option<u64>, TokenError> {
    let apart = |seconds: f64| Duration::from_secs(seconds as u64);
    let now = now as f64;
    if let Some(not_before) = number(claims, "nbf")?
        && not_before > now
    {
        return Err(TokenError::NotYetValid(apart((not_before - now).ceil())));
    }
    let expires_at = number(claims, "exp")?;
    match expires_at {
        Some(expires_at) if now >= expires_at => Err(TokenError::Expired(apart(now - expires_at))),
        Some(expires_at) => Ok(Some(expires_at.ceil() as u64)),
        None => Ok(None),
    }
}

/// A number as JavaScript reads it: too many digits round, and too large is infinite.
fn number(claims: &Members<'_>, name: &'static str) -> Result<Option<f64>, TokenError> {
    let Some(raw) = claims.get(name) else {
        return Ok(None);
    };
    let text = raw.get();
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.map(Some).ok_or(TokenError::NotANumber(name))
}

/// The algorithms among the names; an unknown name verifies nothing.
fn known(names: &[impl AsRef<str>]) -> Vec<Algorithm> {
    let names = names.iter().map(AsRef::as_ref);
    names.filter_map(|name| name.parse().ok()).collect()
}

fn is_base64url(part: &str) -> bool {
    part.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn base64_encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes as Node does: bits that fill no byte are dropped.
fn base64_lenient(text: &str) -> Option<Vec<u8>> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireNone),
    );
    let text = if text.len() % 4 == 1 {
        &text[..text.len() - 1]
    } else {
        text
    };
    ENGINE.decode(text).ok()
}

fn whole(duration: &Duration) -> humantime::FormattedDuration {
    humantime::format_duration(*duration)
}

#[cfg(test)]
mod tests;
