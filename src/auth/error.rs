//! Why a token is refused, and why a configuration cannot verify any.

use std::time::Duration;

use thiserror::Error;

use super::{MAX_TOKEN, jwks::set, key::KeyError};
use crate::{
    config::{Algorithm, Problem},
    error::chain,
    id::InvalidId,
};

/// Why a configuration cannot verify tokens.
#[derive(Debug, Error)]
pub enum AuthError {
    #[error("not set")]
    NoSecret,
    #[error(
        "JWT secret {number} of {count} is a PEM key beside a key set, and only keys of the set verify tokens with public-key algorithms"
    )]
    PemBesideJwks { number: usize, count: usize },
    #[error("JWT secret {number} of {count} cannot be used")]
    Key {
        number: usize,
        count: usize,
        source: KeyError,
    },
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let remedy = match &error {
            AuthError::NoSecret => "set JWT_SECRET",
            AuthError::PemBesideJwks { .. } => {
                "add the key to the set, or remove auth.jwks_url (or auth.jwks_file)"
            }
            AuthError::Key { .. } => "correct JWT_SECRET, auth.secret, or the file it is read from",
        };
        Self::new("auth.secret", chain(&error), remedy)
    }
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
    #[error(
        "the token is signed with {found:?}, but only these are allowed: {allowed}; see JWT_ALGORITHMS"
    )]
    AlgorithmNotAllowed { found: String, allowed: String },
    #[error(
        "the token is signed with {0:?}, which does not fit the kind of key that is configured; see JWT_SECRET"
    )]
    AlgorithmWithoutKey(Algorithm),
    #[error(
        "the token is signed with {algorithm:?}, but its key {} in the key set is for other algorithms",
        set::shown(kid)
    )]
    AlgorithmOfOtherKey { algorithm: Algorithm, kid: String },
    #[error(
        "the token's header lists extensions that must be understood (\"crit\"), and sockd understands none"
    )]
    Critical,
    #[error("the signature is not from a configured key; see JWT_SECRET")]
    Signature,
    #[error("the signature is not from the key {} of the key set", set::shown(.0))]
    KeySignature(String),
    #[error("the token's key {} is not in the key set; see auth.jwks_url", set::shown(.0))]
    UnknownKey(String),
    #[error("the token names no key (\"kid\"), and no key of the key set has signed it")]
    NoKeyOfSet,
    #[error("the key set cannot be read, so the token cannot be verified now")]
    NoKeySet,
    #[error("the token's payload is not a JSON object")]
    Payload,
    #[error("claim {0:?} is not a number")]
    NotANumber(&'static str),
    #[error("the token is not valid for another {} (\"nbf\")", whole(.0))]
    NotYetValid(Duration),
    #[error("the token expired {} ago (\"exp\")", whole(.0))]
    Expired(Duration),
    #[error("claim \"aud\" is not the audience {0}; see auth.audience")]
    Audience(String),
    #[error("claim \"iss\" is not the issuer {0}; see auth.issuer")]
    Issuer(String),
    #[error("claim {0:?} is missing")]
    Missing(String),
    #[error("claim {0:?} is not a string")]
    NotAString(String),
    #[error(
        "claim {0:?} is neither a string nor a whole number from 0 to 2^53 - 1; write a larger one as a string"
    )]
    NotAnInteger(String),
    #[error("claim {claim:?} has the wrong format")]
    Id { claim: String, source: InvalidId },
}

impl TokenError {
    /// Whether another key set could verify the token.
    pub(super) fn lacks_key(&self) -> bool {
        matches!(
            self,
            Self::UnknownKey(_) | Self::NoKeyOfSet | Self::NoKeySet
        )
    }

    /// Whether the token could not be verified now, and may be accepted later.
    pub fn is_temporary(&self) -> bool {
        *self == Self::NoKeySet
    }
}

fn whole(duration: &Duration) -> humantime::FormattedDuration {
    humantime::format_duration(*duration)
}
