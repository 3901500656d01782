//! What a token claims: its times, where it comes from and whom it is for, and who its bearer is.

use std::time::Duration;

use serde_json::value::RawValue;

use super::{Identity, TokenError, members, string, trim};
use crate::{
    config,
    id::{IdFormat, IdFormats, UserId},
    wire::Members,
};

/// What the claims of a token must be.
#[derive(Debug)]
pub(super) struct Claims {
    user_claim: String,
    session_claim: String,
    issuers: Vec<String>,
    audiences: Vec<String>,
    pub(super) ids: IdFormats,
}

impl Claims {
    pub(super) fn new(auth: &config::Auth, ids: IdFormats) -> Self {
        Self {
            user_claim: auth.user_claim.clone(),
            session_claim: auth.session_claim.clone(),
            issuers: auth.issuers.clone(),
            audiences: auth.audiences.clone(),
            ids,
        }
    }

    /// Judges a payload at the time `now`, in whole seconds since the epoch.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub(super) fn judge(&self, payload: &[u8], now: u64) -> Result<Identity, TokenError> {
        let payload = String::from_utf8_lossy(payload);
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
            key: None,
        })
    }

    /// The user that a payload names, even if the rest of it is wrong.
    pub(super) fn user(&self, payload: &[u8]) -> Option<UserId> {
        let payload = String::from_utf8_lossy(payload);
        let user = id_claim(&members(&payload)?, &self.user_claim, &self.ids.user).ok()?;
        self.ids.parse_user(trim(&user)).ok()
    }

    fn verify_origin(&self, claims: &Members<'_>) -> Result<(), TokenError> {
        let is_one = |raw: &RawValue, wanted: &[String]| {
            string(raw).is_some_and(|text| wanted.contains(&text))
        };
        if !self.audiences.is_empty() {
            let matches = claims.get("aud").is_some_and(|raw| {
                let list = serde_json::from_str::<Vec<&RawValue>>(raw.get());
                list.map_or_else(
                    |_| is_one(raw, &self.audiences),
                    |list| list.into_iter().any(|raw| is_one(raw, &self.audiences)),
                )
            });
            if !matches {
                return Err(TokenError::Audience(one_of(&self.audiences)));
            }
        }
        if !self.issuers.is_empty()
            && !claims
                .get("iss")
                .is_some_and(|raw| is_one(raw, &self.issuers))
        {
            return Err(TokenError::Issuer(one_of(&self.issuers)));
        }
        Ok(())
    }
}

fn one_of(wanted: &[String]) -> String {
    let quoted: Vec<_> = wanted.iter().map(|text| format!("{text:?}")).collect();
    quoted.join(" or ")
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

/// Checks `nbf` and `exp`, and returns the first second at which the token is no longer valid.
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

/// Reads a number as JavaScript does: extra digits are rounded, and a number too large is infinite.
fn number(claims: &Members<'_>, name: &'static str) -> Result<Option<f64>, TokenError> {
    let Some(raw) = claims.get(name) else {
        return Ok(None);
    };
    let text = raw.get();
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.map(Some).ok_or(TokenError::NotANumber(name))
}
