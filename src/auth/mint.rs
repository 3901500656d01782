//! Making tokens, for operators, tests and `sockd serve --dev`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    compact::base64_encode,
    key::{KeyError, SigningKey},
};
use crate::{
    config::{self, ALGORITHMS, Algorithm},
    id::{SessionId, UserId},
    secret::Secret,
};

/// Signs tokens that a [`TokenVerifier`](super::TokenVerifier) of the same configuration accepts, with
/// the first of several issuers and audiences.
pub struct TokenMinter {
    key: SigningKey,
    user_claim: String,
    session_claim: String,
    issuer: Option<String>,
    audience: Option<String>,
}

/// What a new token says.
pub struct Claims<'a> {
    pub user: &'a UserId,
    pub session: &'a SessionId,
    /// Seconds since the epoch.
    pub issued_at: u64,
    /// `None`: the token never expires.
    pub ttl: Option<Duration>,
    /// More claims, which override all others, so that bad tokens can be made on purpose.
    pub extra: &'a Map<String, Value>,
}

impl TokenMinter {
    /// Uses the given algorithm, else the first configured one that fits the key, else the first known
    /// one that does.
    ///
    /// # Errors
    /// A key that cannot be read, is public only, or does not fit the algorithm.
    pub fn new(
        auth: &config::Auth,
        key: &Secret,
        algorithm: Option<Algorithm>,
    ) -> Result<Self, KeyError> {
        let key = match algorithm {
            Some(algorithm) => SigningKey::new(key, algorithm)?,
            None => fitting(key, &super::known(&auth.algorithms))?,
        };
        Ok(Self {
            key,
            user_claim: auth.user_claim.clone(),
            session_claim: auth.session_claim.clone(),
            issuer: auth.issuers.first().cloned(),
            audience: auth.audiences.first().cloned(),
        })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }

    /// Returns a signed token in compact form.
    ///
    /// # Errors
    /// [`KeyError::Signing`], when the key turns out to be damaged.
    pub fn mint(&self, claims: &Claims<'_>) -> Result<String, KeyError> {
        let mut payload = Map::new();
        payload.insert("iat".into(), claims.issued_at.into());
        if let Some(ttl) = claims.ttl {
            payload.insert("exp".into(), expiry(claims.issued_at, ttl));
        }
        for (name, value) in [("iss", &self.issuer), ("aud", &self.audience)] {
            if let Some(value) = value {
                payload.insert(name.into(), value.as_str().into());
            }
        }
        payload.insert(self.user_claim.clone(), claims.user.as_str().into());
        payload.insert(self.session_claim.clone(), claims.session.as_str().into());
        payload.extend(claims.extra.clone());

        let header = json!({ "alg": self.algorithm(), "typ": "JWT" });
        let header = base64_encode(header.to_string());
        let message = format!(
            "{header}.{}",
            base64_encode(Value::Object(payload).to_string())
        );
        let signature = self.key.sign(&message)?;
        Ok(format!("{message}.{signature}"))
    }
}

fn fitting(key: &Secret, preferred: &[Algorithm]) -> Result<SigningKey, KeyError> {
    let candidates = preferred.iter().copied().chain(super::known(&ALGORITHMS));
    let mut keys = candidates.map(|algorithm| SigningKey::new(key, algorithm));
    let found = keys.find(|key| !matches!(key, Err(KeyError::WrongAlgorithm(_))));
    found.unwrap_or(Err(KeyError::Unsupported))
}

/// Whole seconds as integers, as other issuers write them.
fn expiry(issued_at: u64, ttl: Duration) -> Value {
    if ttl.subsec_nanos() == 0 {
        issued_at.saturating_add(ttl.as_secs()).into()
    } else {
        (issued_at as f64 + ttl.as_secs_f64()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{
        TokenVerifier,
        tests::{NOW, SESSION, USER, auth, formats, verifier},
    };
    use crate::config::AlgorithmFamily;

    #[test]
    fn minted_tokens_are_valid_with_every_algorithm_and_with_no_other_key() {
        let rsa = (key!("rsa.pem"), key!("rsa.pub.pem"));
        for (name, algorithm, (private, public)) in ALGORITHMS.into_iter().map(|name| {
            let algorithm: Algorithm = name.parse().unwrap();
            let keys = match (algorithm, algorithm.family()) {
                (Algorithm::ES256, _) => (key!("es256.pem"), key!("es256.pub.pem")),
                (Algorithm::ES384, _) => (key!("es384.pem"), key!("es384.pub.pem")),
                (_, AlgorithmFamily::Ed) => (key!("ed25519.pem"), key!("ed25519.pub.pem")),
                (_, AlgorithmFamily::Hmac) => ("secret", "secret"),
                _ => rsa,
            };
            (name, algorithm, keys)
        }) {
            let auth = auth(&[public], &[name]);
            let minter =
                TokenMinter::new(&auth, &Secret::new(private.into()), Some(algorithm)).unwrap();
            let formats = formats();
            let claims = Claims {
                user: &formats.parse_user(USER).unwrap(),
                session: &formats.parse_session(SESSION).unwrap(),
                issued_at: NOW,
                ttl: Some(Duration::from_secs(60)),
                extra: &Map::new(),
            };
            let token = minter.mint(&claims).unwrap();
            let identity = verifier(&auth).verify(&token, NOW).unwrap();
            assert_eq!(identity.expires_at, Some(NOW + 60), "{name}");
            assert!(verifier(&auth).verify(&token, NOW + 60).is_err());

            let (message, signature) = token.rsplit_once('.').unwrap();
            let forged = format!("{}A.{signature}", &message[..message.len() - 1]);
            assert!(verifier(&auth).verify(&forged, NOW).is_err(), "{name}");
            let other = ALGORITHMS.into_iter().find(|other| *other != name).unwrap();
            let mut confused = auth.clone();
            confused.algorithms = vec![other.to_owned()];
            assert!(
                TokenVerifier::new(&confused, formats)
                    .unwrap()
                    .verify(&token, NOW)
                    .is_err()
            );
        }
    }

    #[test]
    fn the_minter_finds_an_algorithm_that_fits_the_key() {
        let minted = |key: &str, configured: &[&str]| {
            let minter = TokenMinter::new(&auth(&[], configured), &Secret::new(key.into()), None);
            minter.map(|minter| minter.algorithm())
        };
        assert_eq!(minted("secret", &["HS512"]), Ok(Algorithm::HS512));
        assert_eq!(minted("secret", &["RS256"]), Ok(Algorithm::HS256));
        assert_eq!(
            minted(key!("rsa.pem"), &["HS256", "PS384"]),
            Ok(Algorithm::PS384)
        );
        assert_eq!(minted(key!("es384.pem"), &["HS256"]), Ok(Algorithm::ES384));
        assert_eq!(
            minted(key!("es512.pem"), &["ES512"]),
            Err(KeyError::Unsupported)
        );
        assert_eq!(
            minted(key!("ed25519.pem"), &["HS256"]),
            Ok(Algorithm::EdDSA)
        );
        assert_eq!(
            minted(key!("rsa.pub.pem"), &["RS256"]),
            Err(KeyError::NotPrivate)
        );
    }

    #[test]
    fn minted_claims_can_be_overridden_and_expiry_left_out() {
        let mut auth = auth(&["secret"], &["HS256"]);
        auth.issuers = vec!["us".into(), "them too".into()];
        let minter = TokenMinter::new(&auth, &auth.secrets[0], None).unwrap();
        let formats = formats();
        let (user, session) = (
            formats.parse_user(USER).unwrap(),
            formats.parse_session(SESSION).unwrap(),
        );
        let mint = |ttl, extra: Value| {
            let Value::Object(extra) = extra else {
                panic!("{extra}")
            };
            let claims = Claims {
                user: &user,
                session: &session,
                issued_at: NOW,
                ttl,
                extra: &extra,
            };
            verifier(&auth).verify(&minter.mint(&claims).unwrap(), NOW)
        };
        assert_eq!(mint(None, json!({})).unwrap().expires_at, None);
        let half = Some(Duration::from_millis(500));
        assert_eq!(mint(half, json!({})).unwrap().expires_at, Some(NOW + 1));
        assert!(mint(None, json!({ "exp": 1 })).is_err());
        assert!(mint(None, json!({ "iss": "them" })).is_err());
    }
}
