//! What the signature algorithms compute with.

use aws_lc_rs::{
    hmac,
    signature::{
        self, EcdsaSigningAlgorithm, RsaEncoding, RsaSignatureEncoding, VerificationAlgorithm,
    },
};

use crate::config::Algorithm;

/// What an algorithm computes with, which is also the kind of key that it needs.
pub(super) enum Scheme {
    Hmac(hmac::Algorithm),
    Rsa {
        verification: &'static dyn VerificationAlgorithm,
        signing: &'static dyn RsaEncoding,
    },
    Ecdsa {
        verification: &'static dyn VerificationAlgorithm,
        signing: &'static EcdsaSigningAlgorithm,
    },
    Ed25519,
}

impl Scheme {
    pub(super) fn of(algorithm: Algorithm) -> Self {
        let rsa = |verification: &'static signature::RsaParameters,
                   signing: &'static RsaSignatureEncoding| Self::Rsa {
            verification,
            signing,
        };
        let ecdsa =
            |verification: &'static signature::EcdsaVerificationAlgorithm, signing| Self::Ecdsa {
                verification,
                signing,
            };
        match algorithm {
            Algorithm::HS256 => Self::Hmac(hmac::HMAC_SHA256),
            Algorithm::HS384 => Self::Hmac(hmac::HMAC_SHA384),
            Algorithm::HS512 => Self::Hmac(hmac::HMAC_SHA512),
            Algorithm::RS256 => rsa(
                &signature::RSA_PKCS1_2048_8192_SHA256,
                &signature::RSA_PKCS1_SHA256,
            ),
            Algorithm::RS384 => rsa(
                &signature::RSA_PKCS1_2048_8192_SHA384,
                &signature::RSA_PKCS1_SHA384,
            ),
            Algorithm::RS512 => rsa(
                &signature::RSA_PKCS1_2048_8192_SHA512,
                &signature::RSA_PKCS1_SHA512,
            ),
            Algorithm::PS256 => rsa(
                &signature::RSA_PSS_2048_8192_SHA256,
                &signature::RSA_PSS_SHA256,
            ),
            Algorithm::PS384 => rsa(
                &signature::RSA_PSS_2048_8192_SHA384,
                &signature::RSA_PSS_SHA384,
            ),
            Algorithm::PS512 => rsa(
                &signature::RSA_PSS_2048_8192_SHA512,
                &signature::RSA_PSS_SHA512,
            ),
            Algorithm::ES256 => ecdsa(
                &signature::ECDSA_P256_SHA256_FIXED,
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            ),
            Algorithm::ES384 => ecdsa(
                &signature::ECDSA_P384_SHA384_FIXED,
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            ),
            Algorithm::ES512 => ecdsa(
                &signature::ECDSA_P521_SHA512_FIXED,
                &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            ),
            Algorithm::EdDSA => Self::Ed25519,
        }
    }
}
