//! The signature algorithms that tokens may have (RFC 7518, RFC 8037).

pub use jsonwebtoken::{Algorithm, AlgorithmFamily};

/// The names of all algorithms, those first that are preferred where several fit a key.
pub const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];
