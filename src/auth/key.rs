//! Keys: what a configured secret or a published key can verify, and what a secret can sign.

pub(super) mod jwk;

use std::borrow::Cow;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    ParsedPublicKey, VerificationAlgorithm,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    DecodingKey, EncodingKey, crypto,
    jwk::{AlgorithmParameters, Jwk},
};
use pem::Pem;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    config::{Algorithm, AlgorithmFamily},
    secret::Secret,
};

/// The shortest RSA key, in bits, that may verify or sign (NIST SP 800-131A).
const MIN_RSA_BITS: usize = 2048;
/// The longest RSA key that the cryptography library verifies with.
const MAX_RSA_BITS: usize = 8192;
/// The longest public exponent, in bytes; nearly every key has 65,537.
const MAX_RSA_EXPONENT: usize = 4;
const CERTIFICATE: &str = "CERTIFICATE";

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error(
        "the PEM text cannot be read; give all of it with its line breaks, preferably in a file of its own"
    )]
    Unreadable,
    #[error("the PEM holds {0:?}, not a key; give a public key, a private key or a certificate")]
    NoKey(String),
    #[error("the private key is encrypted; decrypt it with: openssl pkey -in KEY -out PLAIN")]
    Encrypted,
    #[error(
        "no supported key is found in the certificate; give its public key: openssl x509 -in CERT -noout -pubkey"
    )]
    Certificate,
    #[error(
        "the key in the PEM is damaged or not supported; use RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, ECDSA on \
         P-256 or P-384 (P-521, and so ES512, is not supported), or Ed25519"
    )]
    Unsupported,
    #[error(
        "the RSA key has {0} bits; use one of {MIN_RSA_BITS} to {MAX_RSA_BITS}: openssl genpkey -algorithm RSA \
         -pkeyopt rsa_keygen_bits:{MIN_RSA_BITS}"
    )]
    RsaSize(usize),
    #[error("a public key cannot sign; give the private key that belongs to it")]
    NotPrivate,
    #[error("the key cannot sign {0:?}; use an algorithm for its kind of key")]
    WrongAlgorithm(Algorithm),
    #[error("signing failed; the key is damaged")]
    Signing,
}

/// A key, and the only algorithms that it is used with, whatever a token names.
pub(super) struct VerifyingKey {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl VerifyingKey {
    /// Reads a secret: a plain one verifies HS only, and a PEM never does.
    ///
    /// # Errors
    /// A PEM without a usable key; text with a PEM's first line is never taken for a plain secret.
    pub(super) fn new(secret: &Secret, allowed: &[Algorithm]) -> Result<Self, KeyError> {
        let (key, fitting) = if secret.is_pem() {
            let pem = read_key(secret, |_| true)?;
            public_key(&pem).map_err(|error| match error {
                KeyError::Unsupported if pem.tag() == CERTIFICATE => KeyError::Certificate,
                error => error,
            })?
        } else {
            let key = DecodingKey::from_secret(secret.expose().as_bytes());
            (key, AlgorithmFamily::Hmac.algorithms().to_vec())
        };
        let allowed = allowed.iter().copied();
        Ok(Self {
            algorithms: allowed
                .filter(|algorithm| fitting.contains(algorithm))
                .collect(),
            key,
        })
    }

    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether this key made the signature (base64url) over the message.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        self.fits(algorithm)
            && crypto::verify(signature, message.as_bytes(), &self.key, algorithm).unwrap_or(false)
    }
}

/// A key that signs tokens with one algorithm.
pub(super) struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
}

impl SigningKey {
    /// # Errors
    /// A key that cannot be read, is public only, or is not of the algorithm's kind.
    pub(super) fn new(secret: &Secret, algorithm: Algorithm) -> Result<Self, KeyError> {
        let (key, fits) = if secret.is_pem() {
            let key = private_key(&read_key(secret, is_private)?)?;
            let fits = fitting(&public_half(&key)?)?.contains(&algorithm);
            (key, fits)
        } else {
            let key = EncodingKey::from_secret(secret.expose().as_bytes());
            (key, algorithm.family() == AlgorithmFamily::Hmac)
        };
        fits.then_some(Self { key, algorithm })
            .ok_or(KeyError::WrongAlgorithm(algorithm))
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signature over the message, in base64url.
    pub(super) fn sign(&self, message: &str) -> Result<String, KeyError> {
        crypto::sign(message.as_bytes(), &self.key, self.algorithm).map_err(|_| KeyError::Signing)
    }
}

/// Returns the first wanted key of a PEM text, and skips other blocks before it, such as EC PARAMETERS.
fn read_key(secret: &Secret, is_wanted: fn(&Pem) -> bool) -> Result<Pem, KeyError> {
    let text = secret.expose();
    // Environment files and container definitions often hold a PEM on one line, with \n for line breaks.
    let text = if text.contains('\n') {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.replace("\\n", "\n"))
    };
    let blocks = pem::parse_many(text.as_bytes()).map_err(|_| KeyError::Unreadable)?;
    let first = blocks.first().ok_or(KeyError::Unreadable)?.tag().to_owned();
    let is_key = |pem: &Pem| pem.tag().ends_with("KEY") || pem.tag() == CERTIFICATE;
    let keys: Vec<Pem> = blocks.into_iter().filter(is_key).collect();
    if keys.is_empty() {
        return Err(KeyError::NoKey(first));
    }
    let key = keys
        .into_iter()
        .find(is_wanted)
        .ok_or(KeyError::NotPrivate)?;
    if key.tag() == "ENCRYPTED PRIVATE KEY" || key.headers().get("DEK-Info").is_some() {
        return Err(KeyError::Encrypted);
    }
    Ok(key)
}

fn is_private(pem: &Pem) -> bool {
    pem.tag().ends_with("PRIVATE KEY")
}

/// Returns the key of a public key or a certificate, or a private key's public half, and what it
/// verifies.
fn public_key(pem: &Pem) -> Result<(DecodingKey, Vec<Algorithm>), KeyError> {
    let key = if is_private(pem) {
        public_half(&private_key(pem)?)?
    } else {
        let text = pem::encode(pem);
        let readers = [
            DecodingKey::from_rsa_pem,
            DecodingKey::from_ec_pem,
            DecodingKey::from_ed_pem,
        ];
        let key = readers.iter().find_map(|read| read(text.as_bytes()).ok());
        key.ok_or(KeyError::Unsupported)?
    };
    let fitting = fitting(&key)?;
    Ok((key, fitting))
}

fn private_key(pem: &Pem) -> Result<EncodingKey, KeyError> {
    if pem.tag() == "EC PRIVATE KEY" {
        return sec1_key(pem.contents()).ok_or(KeyError::Unsupported);
    }
    let text = Zeroizing::new(pem::encode(pem));
    let readers = [
        EncodingKey::from_rsa_pem,
        EncodingKey::from_ec_pem,
        EncodingKey::from_ed_pem,
    ];
    let key = readers.iter().find_map(|read| read(text.as_bytes()).ok());
    key.ok_or(KeyError::Unsupported)
}

/// Reads an EC key as `openssl ecparam -genkey` writes it (RFC 5915); jsonwebtoken reads only PKCS #8.
fn sec1_key(der: &[u8]) -> Option<EncodingKey> {
    let curves = [
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &ECDSA_P384_SHA384_FIXED_SIGNING,
    ];
    let mut pairs = curves
        .into_iter()
        .filter_map(|curve| EcdsaKeyPair::from_private_key_der(curve, der).ok());
    let pkcs8 = pairs.next()?.to_pkcs8v1().ok()?;
    Some(EncodingKey::from_ec_der(pkcs8.as_ref()))
}

fn public_half(key: &EncodingKey) -> Result<DecodingKey, KeyError> {
    if key.family() == AlgorithmFamily::Ed {
        // `Jwk` reads only the form of PKCS #8 that lacks the public key.
        let pair = Ed25519KeyPair::from_pkcs8(key.as_bytes()).map_err(|_| KeyError::Unsupported)?;
        return Ok(DecodingKey::from_ed_der(pair.public_key().as_ref()));
    }
    let family = key.family();
    let algorithms = family.algorithms().iter();
    let mut jwks = algorithms.filter_map(|algorithm| Jwk::from_encoding_key(key, *algorithm).ok());
    let key = jwks.next().and_then(|jwk| DecodingKey::from_jwk(&jwk).ok());
    key.ok_or(KeyError::Unsupported)
}

/// Returns the algorithms that a key verifies. `DecodingKey` takes any bytes for a key and any point
/// for one on its curve, and would then refuse every token, so the key is examined here.
fn fitting(key: &DecodingKey) -> Result<Vec<Algorithm>, KeyError> {
    let mut algorithms = key.family().algorithms().to_vec();
    match key.family() {
        AlgorithmFamily::Hmac => {}
        AlgorithmFamily::Rsa => {
            let bits = rsa_bits(key).ok_or(KeyError::Unsupported)?;
            if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
                return Err(KeyError::RsaSize(bits));
            }
        }
        AlgorithmFamily::Ec | AlgorithmFamily::Ed => {
            let point = key.try_get_as_bytes().map_err(|_| KeyError::Unsupported)?;
            algorithms.retain(|algorithm| {
                let curve: &dyn VerificationAlgorithm = match algorithm {
                    Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
                    Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED,
                    _ => &ED25519,
                };
                ParsedPublicKey::new(curve, point).is_ok()
            });
        }
    }
    if algorithms.is_empty() {
        return Err(KeyError::Unsupported);
    }
    Ok(algorithms)
}

/// The length of the modulus; `None` for a key that would accept no signature, or every one.
fn rsa_bits(key: &DecodingKey) -> Option<usize> {
    let AlgorithmParameters::RSA(parameters) = Jwk::from_decoding_key(key, None).ok()?.algorithm
    else {
        return None;
    };
    let (modulus, exponent) = (odd(&parameters.n)?, odd(&parameters.e)?);
    if exponent == [1] || exponent.len() > MAX_RSA_EXPONENT {
        return None;
    }
    let leading = modulus.first()?.leading_zeros();
    Some(modulus.len() * 8 - usize::try_from(leading).ok()?)
}

/// An odd number without leading zeros, which would make a key look longer than it is.
fn odd(base64: &str) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(base64).ok()?;
    let start = bytes.iter().position(|byte| *byte != 0)?;
    let is_odd = bytes.last()? % 2 == 1;
    bytes.drain(..start);
    is_odd.then_some(bytes)
}

#[cfg(test)]
mod tests;
