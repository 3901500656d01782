//! Who the bearer of a token is, and whether the token can be trusted.
//!
//! The verdicts are those of Node's `jsonwebtoken` and the TypeScript server around it, so that
//! every token that was accepted stays accepted and no other becomes so: there is no leeway, `exp` and `nbf` are
//! optional but must be numbers, and `typ` and the rest may have any type and have no effect. Neither have
//! `jku`, `x5u`, `x5c` and `jwk`, by which a token could bring its own key.
//!
//! The `jsonwebtoken` crate verifies and signs, and knows nothing of these rules. It does not support
//! ES512 either, and accepts a signature only in its canonical spelling. Unlike Node, sockd refuses
//! `crit`.
//!
//! In reading order: `error` lists the reasons to refuse a token, `compact` splits it into its parts,
//! `claims` judges what it says, `key` verifies signatures, `jwks` is a set of keys that an issuer
//! publishes, `mint` makes tokens.

/// The text of a key file of the tests.
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

mod claims;
mod compact;
mod error;
pub mod jwks;
pub mod key;
pub mod mint;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use serde_json::value::RawValue;
use tokio::time::Instant;

use self::{
    claims::Claims,
    compact::{Parts, base64_lenient},
    jwks::{Freshness, Jwks, NoKeySet, set::Mismatch},
    key::VerifyingKey,
};
pub use self::{
    compact::{MAX_TOKEN, is_blank, strip_bearer, trim},
    error::{AuthError, TokenError},
};
use crate::{
    config::{self, Algorithm, AlgorithmFamily},
    id::{IdFormats, SessionId, UserId},
    secret::Secret,
    wire::Members,
};

/// Verifies tokens.
pub struct TokenVerifier {
    keys: Vec<(KeyId, VerifyingKey)>,
    /// If there is one, it verifies public-key algorithms, and `keys` only HMAC.
    jwks: Option<Arc<Jwks>>,
    algorithms: Vec<String>,
    claims: Claims,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    pub session: SessionId,
    /// The first whole second since the epoch at which the token is no longer valid.
    pub expires_at: Option<u64>,
    /// The configured secret or key that verified it; `None` for one of the key set.
    pub key: Option<KeyId>,
}

/// Identifies a key without showing it, for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId(u64);

impl KeyId {
    fn new(secret: &Secret) -> Self {
        static RANDOM: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(RANDOM.hash_one(secret.expose()))
    }
}

/// What a token's header says about its key.
struct Header {
    algorithm: Algorithm,
    /// `None` also if it is not a string.
    kid: Option<String>,
}

impl TokenVerifier {
    /// # Errors
    /// There is neither a secret nor a key set; or a secret is a PEM without a usable key, or a PEM beside a
    /// key set.
    pub fn new(auth: &config::Auth, ids: IdFormats) -> Result<Self, AuthError> {
        let jwks = auth.jwks.clone().map(|config| Arc::new(Jwks::new(config)));
        Self::with(auth, ids, jwks)
    }

    /// Returns a verifier that replaces this one, with the same key set and formats of ids.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn replaced(&self, auth: &config::Auth) -> Result<Self, AuthError> {
        Self::with(auth, self.claims.ids.clone(), self.jwks.clone())
    }

    fn with(
        auth: &config::Auth,
        ids: IdFormats,
        jwks: Option<Arc<Jwks>>,
    ) -> Result<Self, AuthError> {
        let algorithms = known(&auth.algorithms);
        let count = auth.secrets.len();
        let mut keys = Vec::with_capacity(count);
        for (at, secret) in auth.secrets.iter().enumerate() {
            let number = at + 1;
            if jwks.is_some() && secret.is_pem() {
                return Err(AuthError::PemBesideJwks { number, count });
            }
            let key = VerifyingKey::new(secret, &algorithms).map_err(|source| AuthError::Key {
                number,
                count,
                source,
            })?;
            keys.push((KeyId::new(secret), key));
        }
        if count == 0 && jwks.is_none() {
            return Err(AuthError::NoSecret);
        }
        Ok(Self {
            keys,
            jwks,
            algorithms: auth.algorithms.clone(),
            claims: Claims::new(auth, ids),
        })
    }

    /// Whether tokens that this key has signed are still accepted.
    pub fn has(&self, key: KeyId) -> bool {
        self.keys.iter().any(|(known, _)| *known == key)
    }

    /// The key set; it is empty until it [`run`](Jwks::run)s or is [`load`](Jwks::load)ed.
    pub fn jwks(&self) -> Option<&Arc<Jwks>> {
        self.jwks.as_ref()
    }

    /// Whether tokens can be judged.
    ///
    /// # Errors
    /// There is no key set yet.
    pub fn check(&self) -> Result<(), NoKeySet> {
        self.jwks.as_ref().map_or(Ok(()), |jwks| jwks.check())
    }

    /// The user of a token whose signature is valid, even if it is refused for another reason such as
    /// its age. For traces only: it admits no client.
    pub fn user_of(&self, token: &str) -> Option<UserId> {
        let parts = Parts::of(token).ok()?;
        let header = self.header(parts.header).ok()?;
        self.verify_signature(&parts, header).ok()?;
        self.claims.user(&base64_lenient(parts.payload)?)
    }

    /// Judges a token at the time `now`, in whole seconds since the epoch ([`unix_time`]), with the
    /// keys that are loaded.
    ///
    /// # Errors
    /// The first reason to refuse it. A token that no key could make valid is refused for that reason, whether
    /// its key is known or not.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        let parts = Parts::of(token)?;
        let header = self.header(parts.header)?;
        let key = match self.verify_signature(&parts, header) {
            Err(error) if !error.lacks_key() => return Err(error),
            key => key,
        };
        let payload = base64_lenient(parts.payload).ok_or(TokenError::Malformed)?;
        let identity = self.claims.judge(&payload, now)?;
        Ok(Identity {
            key: key?,
            ..identity
        })
    }

    /// Judges a token as [`Self::verify`] does; if only its key is missing, waits until the deadline
    /// for the key set to be read again.
    ///
    /// # Errors
    /// The first reason to refuse it. [`TokenError::is_temporary`] if it could not be judged.
    pub async fn verify_by(
        &self,
        token: &str,
        now: u64,
        deadline: Instant,
    ) -> Result<Identity, TokenError> {
        let verdict = self.verify(token, now);
        let (Some(jwks), Err(error)) = (&self.jwks, &verdict) else {
            return verdict;
        };
        if !error.lacks_key() {
            return verdict;
        }
        match jwks.freshen(deadline).await {
            Freshness::Recent => verdict,
            Freshness::Renewed => self.verify(token, now),
            Freshness::Unknown => match self.verify(token, now) {
                Err(error) if error.lacks_key() => Err(TokenError::NoKeySet),
                verdict => verdict,
            },
        }
    }

    /// Returns the key that has signed the token; `None` if it is one of the key set.
    fn verify_signature(
        &self,
        parts: &Parts<'_>,
        header: Header,
    ) -> Result<Option<KeyId>, TokenError> {
        let Header { algorithm, kid } = header;
        if let Some(jwks) = &self.jwks
            && algorithm.family() != AlgorithmFamily::Hmac
        {
            let set = jwks.set();
            let set = set.as_ref().ok_or(TokenError::NoKeySet)?;
            let verified = set.verify(kid.as_deref(), algorithm, parts.message, parts.signature);
            return verified
                .map(|()| None)
                .map_err(|mismatch| match (mismatch, kid) {
                    (Mismatch::UnknownKey, Some(kid)) => TokenError::UnknownKey(kid),
                    (Mismatch::Algorithm, Some(kid)) => {
                        TokenError::AlgorithmOfOtherKey { algorithm, kid }
                    }
                    (Mismatch::Signature, Some(kid)) => TokenError::KeySignature(kid),
                    (_, None) => TokenError::NoKeyOfSet,
                });
        }
        if !self.keys.iter().any(|(_, key)| key.fits(algorithm)) {
            return Err(TokenError::AlgorithmWithoutKey(algorithm));
        }
        let mut keys = self.keys.iter();
        let signer = keys.find(|(_, key)| key.verifies(algorithm, parts.message, parts.signature));
        let (signer, _) = signer.ok_or(TokenError::Signature)?;
        Ok(Some(*signer))
    }

    /// Reads a header whose algorithm is allowed.
    fn header(&self, base64: &str) -> Result<Header, TokenError> {
        let bytes = base64_lenient(base64).ok_or(TokenError::Malformed)?;
        // Node reads the header as Latin-1, so that it need not be UTF-8.
        let text: String = bytes.iter().copied().map(char::from).collect();
        let members = members(&text).ok_or(TokenError::Header)?;
        let name = members.get("alg").and_then(string);
        let name = name.ok_or(TokenError::NoAlgorithm)?;
        let not_allowed = || TokenError::AlgorithmNotAllowed {
            found: name.chars().take(32).collect(),
            allowed: self.algorithms.join(", "),
        };
        if !self.algorithms.contains(&name) {
            return Err(not_allowed());
        }
        let algorithm: Algorithm = name.parse().map_err(|_| not_allowed())?;
        if members.get("crit").is_some() {
            return Err(TokenError::Critical);
        }
        let is_for_set = self.jwks.is_some() && algorithm.family() != AlgorithmFamily::Hmac;
        // Key identifiers in a set are UTF-8.
        let text = std::str::from_utf8(&bytes).ok().filter(|_| is_for_set);
        let kid = text.and_then(|text| Some(self::members(text)?.text("kid")?.into_owned()));
        Ok(Header { algorithm, kid })
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// Whole seconds since the Unix epoch.
pub fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

fn members(json: &str) -> Option<Members<'_>> {
    let is_object = json.trim_ascii_start().starts_with('{');
    is_object.then(|| Members::parse(json).ok()).flatten()
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// The algorithms that the names stand for; unknown names are left out.
fn known(names: &[impl AsRef<str>]) -> Vec<Algorithm> {
    let names = names.iter().map(AsRef::as_ref);
    names.filter_map(|name| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
