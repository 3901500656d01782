//! Keys of a JSON Web Key Set (RFC 7517): which of them may verify tokens, and why others may not.

use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{KeyError, MAX_RSA_BITS, MIN_RSA_BITS, VerifyingKey, fitting};
use crate::{
    config::{Algorithm, AlgorithmFamily},
    wire::Members,
};

/// Why a key of a set is skipped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::auth) enum SkipReason {
    #[error("not a JSON Web Key: {0}")]
    NotAKey(String),
    #[error("a shared secret (\"oct\"), which is never taken from a key set")]
    Secret,
    #[error("published with its private key, so anyone who reads the set can sign; replace it")]
    Private,
    #[error("its \"use\" is {0:?}, not \"sig\"")]
    Use(String),
    #[error("its \"key_ops\" do not include \"verify\"")]
    Operations,
    #[error("its type or curve is not supported; use RSA, EC on P-256 or P-384, or OKP on Ed25519")]
    Type,
    #[error("its RSA key has {0} bits, not {MIN_RSA_BITS} to {MAX_RSA_BITS}")]
    RsaSize(usize),
    #[error("its parameters are not those of a key on its curve or of its type")]
    Damaged,
    #[error("its \"alg\" is not one that verifies tokens with such a key")]
    Algorithm,
    #[error("the set has more than {0} keys")]
    TooMany(usize),
}

impl VerifyingKey {
    /// Reads one key of a set, for the algorithms that both its type and its `alg` allow.
    ///
    /// # Errors
    /// Why it must not verify tokens.
    pub(in crate::auth) fn from_jwk(raw: &RawValue) -> Result<Self, SkipReason> {
        let jwk: Jwk = serde_json::from_str(raw.get()).map_err(|error| not_a_key(&error))?;
        // Of EC, RSA and OKP alike; `Jwk` does not read it.
        let is_private = Members::parse(raw.get()).is_ok_and(|key| key.get("d").is_some());
        if is_private {
            return Err(SkipReason::Private);
        }
        match &jwk.common.public_key_use {
            None | Some(PublicKeyUse::Signature) => {}
            Some(PublicKeyUse::Encryption) => return Err(SkipReason::Use("enc".to_owned())),
            Some(PublicKeyUse::Other(other)) => {
                return Err(SkipReason::Use(other.chars().take(32).collect()));
            }
        }
        let operations = jwk.common.key_operations.as_ref();
        if operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
            return Err(SkipReason::Operations);
        }
        let of_type = algorithms_of_type(&jwk.algorithm)?;
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| SkipReason::Damaged)?;
        let mut algorithms = fitting(&key).map_err(|error| match error {
            KeyError::RsaSize(bits) => SkipReason::RsaSize(bits),
            _ => SkipReason::Damaged,
        })?;
        algorithms.retain(|algorithm| of_type.contains(algorithm));
        if algorithms.is_empty() {
            return Err(SkipReason::Damaged);
        }
        if let Some(only) = jwk.common.key_algorithm {
            algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
        }
        if algorithms.is_empty() {
            return Err(SkipReason::Algorithm);
        }
        Ok(Self { key, algorithms })
    }

    pub(in crate::auth) fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }
}

/// Returns the algorithms of a key's type and curve. `DecodingKey` forgets which curve a key names.
fn algorithms_of_type(parameters: &AlgorithmParameters) -> Result<&[Algorithm], SkipReason> {
    match parameters {
        AlgorithmParameters::RSA(_) => Ok(AlgorithmFamily::Rsa.algorithms()),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Ok(&[Algorithm::ES256]),
            EllipticCurve::P384 => Ok(&[Algorithm::ES384]),
            _ => Err(SkipReason::Type),
        },
        AlgorithmParameters::OctetKeyPair(key) => match key.curve {
            EllipticCurve::Ed25519 => Ok(&[Algorithm::EdDSA]),
            _ => Err(SkipReason::Type),
        },
        AlgorithmParameters::OctetKey(_) => Err(SkipReason::Secret),
        _ => Err(SkipReason::Type),
    }
}

/// Leaves out the position, which counts from the start of the key, not of the set.
fn not_a_key(error: &serde_json::Error) -> SkipReason {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    SkipReason::NotAKey(text.chars().take(100).collect())
}
