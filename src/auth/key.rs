//! Keys: what a configured secret can verify, and what it can sign.

use std::borrow::Cow;

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{
        self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ParsedPublicKey, RsaKeyPair,
        RsaSubjectPublicKey,
    },
};
use pem::Pem;
use thiserror::Error;

use super::scheme::Scheme;
use crate::{config::Algorithm, secret::Secret};

/// The shortest RSA key, in bits, that may verify or sign (NIST SP 800-131A).
const MIN_RSA_BITS: usize = 2048;

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error(
        "the PEM text cannot be read; give all of it with its line breaks, best in a file of its own"
    )]
    Unreadable,
    #[error("the PEM holds {0:?}, not a key; give a public key, a private key or a certificate")]
    NoKey(String),
    #[error("the private key is encrypted; decrypt it with: openssl pkey -in KEY -out PLAIN")]
    Encrypted,
    #[error(
        "the key in the PEM is of no supported kind; use RSA, ECDSA on P-256, P-384 or P-521, or Ed25519"
    )]
    Unsupported,
    #[error("the RSA key has {0} bits, fewer than {MIN_RSA_BITS}; make a longer one")]
    TooShort(usize),
    #[error("a public key cannot sign; give the private key that belongs to it")]
    NotPrivate,
    #[error("the key cannot sign {0}; use an algorithm for its kind of key")]
    WrongAlgorithm(Algorithm),
    #[error("signing failed; the key is damaged")]
    Signing,
}

/// A key and the one algorithm that it is used with, so that no other can be smuggled in.
pub(super) struct Verifier {
    pub(super) algorithm: Algorithm,
    key: VerifyingKey,
}

enum VerifyingKey {
    Shared(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Verifier {
    /// The verifiers that a secret gives: with a plain secret HS alone, with a PEM never HS.
    ///
    /// # Errors
    /// A PEM without a usable key; a text with a PEM's first line is never taken for a plain secret.
    pub(super) fn of(secret: &Secret, allowed: &[Algorithm]) -> Result<Vec<Self>, KeyError> {
        if !secret.is_pem() {
            let fitting = allowed.iter().filter_map(|algorithm| {
                let Scheme::Hmac(scheme) = Scheme::of(*algorithm) else {
                    return None;
                };
                let key = VerifyingKey::Shared(shared(scheme, secret));
                Some((*algorithm, key))
            });
            return Ok(fitting
                .map(|(algorithm, key)| Self { algorithm, key })
                .collect());
        }
        let der = public_key(&read_pem(secret)?)?;
        let parse = |algorithm: Algorithm| {
            let verification = match Scheme::of(algorithm) {
                Scheme::Hmac(_) => return None,
                Scheme::Rsa { verification, .. } | Scheme::Ecdsa { verification, .. } => {
                    verification
                }
                Scheme::Ed25519 => &signature::ED25519,
            };
            let key = VerifyingKey::Public(ParsedPublicKey::new(verification, &der).ok()?);
            Some(Self { algorithm, key })
        };
        if !Algorithm::ALL.into_iter().any(|any| parse(any).is_some()) {
            return Err(KeyError::Unsupported);
        }
        if let Ok(rsa) = RsaSubjectPublicKey::from_der(&der)
            && rsa.modulus_len() * 8 < MIN_RSA_BITS
        {
            return Err(KeyError::TooShort(rsa.modulus_len() * 8));
        }
        Ok(allowed.iter().copied().filter_map(parse).collect())
    }

    /// Whether the signature, in base64url, is this key's over the message.
    pub(super) fn verifies(&self, message: &str, signature: &str) -> bool {
        match &self.key {
            // Node's jsonwebtoken compares HMACs as texts, so only the canonical spelling counts;
            // signatures by private keys it decodes first, and lets stray bits at the end pass.
            VerifyingKey::Shared(key) => super::base64_strict(signature)
                .is_some_and(|tag| hmac::verify(key, message.as_bytes(), &tag).is_ok()),
            VerifyingKey::Public(key) => super::base64_lenient(signature)
                .is_some_and(|bytes| key.verify_sig(message.as_bytes(), &bytes).is_ok()),
        }
    }
}

/// A key that signs tokens with one algorithm.
pub(super) enum SigningKey {
    Shared(Box<hmac::Key>),
    Rsa(Box<RsaKeyPair>, Algorithm),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// # Errors
    /// A key that cannot be read, is public only, or is not of the algorithm's kind.
    pub(super) fn new(secret: &Secret, algorithm: Algorithm) -> Result<Self, KeyError> {
        let wrong = || KeyError::WrongAlgorithm(algorithm);
        if !secret.is_pem() {
            let Scheme::Hmac(scheme) = Scheme::of(algorithm) else {
                return Err(wrong());
            };
            return Ok(Self::Shared(shared(scheme, secret)));
        }
        let pem = read_pem(secret)?;
        if !pem.tag().ends_with("PRIVATE KEY") {
            return Err(KeyError::NotPrivate);
        }
        let der = pem.contents();
        match Scheme::of(algorithm) {
            Scheme::Hmac(_) => Err(wrong()),
            Scheme::Rsa { .. } => {
                let key = rsa_pair(der).ok_or_else(wrong)?;
                Ok(Self::Rsa(Box::new(key), algorithm))
            }
            Scheme::Ecdsa { signing, .. } => {
                let key = EcdsaKeyPair::from_private_key_der(signing, der);
                Ok(Self::Ecdsa(key.map_err(|_| wrong())?))
            }
            Scheme::Ed25519 => {
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
                Ok(Self::Ed25519(key.map_err(|_| wrong())?))
            }
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::Signing;
        let random = SystemRandom::new();
        match self {
            Self::Shared(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Self::Rsa(key, algorithm) => {
                let Scheme::Rsa { signing, .. } = Scheme::of(*algorithm) else {
                    return Err(KeyError::WrongAlgorithm(*algorithm));
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(signing, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Self::Ecdsa(key) => {
                let signature = key.sign(&random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }
}

fn shared(scheme: hmac::Algorithm, secret: &Secret) -> Box<hmac::Key> {
    Box::new(hmac::Key::new(scheme, secret.expose().as_bytes()))
}

/// The first key of a PEM text; what may stand before it, such as EC PARAMETERS, is skipped.
fn read_pem(secret: &Secret) -> Result<Pem, KeyError> {
    let text = secret.expose();
    // Environment files and container definitions carry a PEM on one line with \n spelled out.
    let text = if text.contains('\n') {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.replace("\\n", "\n"))
    };
    let blocks = pem::parse_many(text.as_bytes()).map_err(|_| KeyError::Unreadable)?;
    let first = blocks.first().ok_or(KeyError::Unreadable)?.tag().to_owned();
    let is_key = |pem: &Pem| pem.tag().ends_with("KEY") || pem.tag() == "CERTIFICATE";
    let key = blocks
        .into_iter()
        .find(is_key)
        .ok_or(KeyError::NoKey(first))?;
    let encrypted = key.tag() == "ENCRYPTED PRIVATE KEY" || key.headers().get("DEK-Info").is_some();
    if encrypted {
        return Err(KeyError::Encrypted);
    }
    Ok(key)
}

/// The public half, in one of the encodings that the verification algorithms read.
fn public_key(pem: &Pem) -> Result<Vec<u8>, KeyError> {
    let der = pem.contents();
    if pem.tag() == "CERTIFICATE" {
        let key = certificate_key(der).ok_or(KeyError::Unreadable)?;
        return Ok(key.to_vec());
    }
    if !pem.tag().ends_with("PRIVATE KEY") {
        return Ok(der.to_vec());
    }
    if let Some(key) = rsa_pair(der) {
        return Ok(key.public_key().as_ref().to_vec());
    }
    for algorithm in Algorithm::ALL {
        if let Scheme::Ecdsa { signing, .. } = Scheme::of(algorithm)
            && let Ok(key) = EcdsaKeyPair::from_private_key_der(signing, der)
        {
            return Ok(key.public_key().as_ref().to_vec());
        }
    }
    let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError::Unsupported)?;
    Ok(key.public_key().as_ref().to_vec())
}

fn rsa_pair(der: &[u8]) -> Option<RsaKeyPair> {
    RsaKeyPair::from_pkcs8(der)
        .or_else(|_| RsaKeyPair::from_der(der))
        .ok()
}

/// The `SubjectPublicKeyInfo` of an X.509 certificate (RFC 5280, section 4.1).
fn certificate_key(der: &[u8]) -> Option<&[u8]> {
    let certificate = Element::first(der)?.content;
    let mut fields = Element::first(certificate)?.content;
    const EXPLICIT_VERSION: u8 = 0xa0;
    if fields.first() == Some(&EXPLICIT_VERSION) {
        fields = Element::first(fields)?.rest;
    }
    for _ in ["serial", "signature", "issuer", "validity", "subject"] {
        fields = Element::first(fields)?.rest;
    }
    Some(Element::first(fields)?.whole)
}

/// One DER element (ITU-T X.690) and what follows it.
struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(der: &'a [u8]) -> Option<Self> {
        const LONG_FORM: u8 = 0x80;
        let length = *der.get(1)?;
        let (start, length) = if length < LONG_FORM {
            (2, usize::from(length))
        } else {
            let digits = usize::from(length - LONG_FORM);
            let bytes = der.get(2..2 + digits).filter(|_| digits <= 4)?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
            (2 + digits, length)
        };
        let end = start.checked_add(length)?;
        Some(Self {
            whole: der.get(..end)?,
            content: der.get(start..end)?,
            rest: der.get(end..)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifiers(pem: &str) -> Result<Vec<Algorithm>, KeyError> {
        let verifiers = Verifier::of(&Secret::new(pem.to_owned()), &Algorithm::ALL)?;
        Ok(verifiers
            .into_iter()
            .map(|verifier| verifier.algorithm)
            .collect())
    }

    macro_rules! key {
        ($name:literal) => {
            include_str!(concat!("../../tests/fixtures/keys/", $name))
        };
    }

    #[test]
    fn every_spelling_of_a_key_is_read_and_never_with_hmac() {
        use Algorithm::*;
        let rsa = vec![RS256, RS384, RS512, PS256, PS384, PS512];
        let table = [
            (key!("rsa.pub.pem"), rsa.clone()),
            (key!("rsa.pub.pkcs1.pem"), rsa.clone()),
            (key!("rsa.crt.pem"), rsa.clone()),
            (key!("rsa.pem"), rsa.clone()),
            (key!("rsa.pkcs1.pem"), rsa),
            (key!("es256.pub.pem"), vec![ES256]),
            (key!("es256.pem"), vec![ES256]),
            (key!("es256.sec1.pem"), vec![ES256]),
            (key!("es384.pub.pem"), vec![ES384]),
            (key!("es384.pem"), vec![ES384]),
            (key!("es512.pub.pem"), vec![ES512]),
            (key!("es512.pem"), vec![ES512]),
            (key!("ed25519.pub.pem"), vec![EdDSA]),
            (key!("ed25519.pem"), vec![EdDSA]),
        ];
        for (pem, expected) in table {
            assert_eq!(verifiers(pem), Ok(expected.clone()), "{pem}");
            let one_line = pem.trim_end().replace('\n', "\\n");
            assert_eq!(verifiers(&one_line), Ok(expected), "{one_line}");
            let windows = pem.replace('\n', "\r\n");
            assert!(verifiers(&windows).is_ok(), "{windows}");
        }
    }

    #[test]
    fn a_plain_secret_verifies_hmac_alone() {
        use Algorithm::*;
        assert_eq!(verifiers("secret"), Ok(vec![HS256, HS384, HS512]));
    }

    #[test]
    fn a_pem_without_a_usable_key_is_an_error_and_no_plain_secret() {
        let truncated = &key!("rsa.pub.pem")[..200];
        assert_eq!(verifiers(truncated), Err(KeyError::Unreadable));
        assert_eq!(
            verifiers("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
            Err(KeyError::Unsupported)
        );
        assert_eq!(
            verifiers("-----BEGIN CERTIFICATE-----\nMIIF\n-----END CERTIFICATE-----\n"),
            Err(KeyError::Unreadable)
        );
        assert_eq!(
            verifiers("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"),
            Err(KeyError::NoKey("X509 CRL".into()))
        );
        assert_eq!(
            verifiers(key!("rsa.encrypted.pem")),
            Err(KeyError::Encrypted)
        );
        assert_eq!(
            verifiers(key!("rsa1024.pub.pem")),
            Err(KeyError::TooShort(1024))
        );
    }

    #[test]
    fn a_public_key_or_one_of_another_kind_cannot_sign() {
        let sign =
            |pem: &str, algorithm| SigningKey::new(&Secret::new(pem.to_owned()), algorithm).err();
        assert_eq!(
            sign(key!("rsa.pub.pem"), Algorithm::RS256),
            Some(KeyError::NotPrivate)
        );
        for (pem, algorithm) in [
            (key!("rsa.pem"), Algorithm::ES256),
            (key!("rsa.pem"), Algorithm::HS256),
            (key!("es256.pem"), Algorithm::ES384),
            (key!("ed25519.pem"), Algorithm::RS256),
            ("secret", Algorithm::RS256),
        ] {
            assert_eq!(
                sign(pem, algorithm),
                Some(KeyError::WrongAlgorithm(algorithm))
            );
        }
    }
}
