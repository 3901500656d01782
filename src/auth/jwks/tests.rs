//! Tokens and a key set that appears, changes and fails. The clock is tokio's, and the source is a file.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    set::tests::{document, jwk},
    *,
};
use crate::{
    auth::{
        AuthError, Identity, TokenError, TokenVerifier,
        compact::base64_encode,
        key::SigningKey,
        mint::{Claims, TokenMinter},
        tests::{NOW, SESSION, USER, auth, formats, signed},
    },
    config::Algorithm,
    secret::Secret,
};

const LIMIT: Duration = Duration::from_millis(1_500);

/// A verifier with a key set in a file.
struct Scene {
    directory: TempDir,
    verifier: TokenVerifier,
}

impl Scene {
    fn new(secrets: &[&str], algorithms: &[&str]) -> Self {
        Self::try_new(secrets, algorithms).unwrap()
    }

    fn try_new(secrets: &[&str], algorithms: &[&str]) -> Result<Self, AuthError> {
        let directory = tempfile::tempdir().unwrap();
        let mut auth = auth(secrets, algorithms);
        auth.jwks = Some(config::Jwks {
            source: JwksSource::File(directory.path().join("jwks.json")),
            refresh_interval: Duration::from_secs(300),
        });
        let verifier = TokenVerifier::new(&auth, formats())?;
        Ok(Self {
            directory,
            verifier,
        })
    }

    fn publish(&self, keys: &[Value]) {
        let path = self.directory.path().join("jwks.json");
        fs::write(path, document(keys)).unwrap();
    }

    fn jwks(&self) -> &Arc<Jwks> {
        self.verifier.jwks().unwrap()
    }

    async fn loaded(self) -> Self {
        self.jwks().load().await.unwrap();
        self
    }

    fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        self.verifier.verify(token, NOW)
    }

    async fn verify_by(&self, token: &str) -> Result<Identity, TokenError> {
        let deadline = Instant::now() + LIMIT;
        self.verifier.verify_by(token, NOW, deadline).await
    }
}

/// A token signed with this key, with these members in its header and its payload.
fn token(pem: &str, algorithm: Algorithm, header: &Value, extra: &Value) -> String {
    let name = format!("{algorithm:?}");
    let auth = auth(&[], &[&name]);
    let minter = TokenMinter::new(&auth, &Secret::new(pem.to_owned()), Some(algorithm)).unwrap();
    let extra = extra.as_object().cloned().unwrap_or_default();
    let claims = Claims {
        user: &formats().parse_user(USER).unwrap(),
        session: &formats().parse_session(SESSION).unwrap(),
        issued_at: NOW,
        ttl: None,
        extra: &extra,
    };
    let plain = minter.mint(&claims).unwrap();
    let payload = plain.split('.').nth(1).unwrap();
    let mut whole = json!({ "alg": name });
    let more = header.as_object().unwrap().clone();
    whole.as_object_mut().unwrap().extend(more);
    let message = format!("{}.{payload}", base64_encode(whole.to_string()));
    let key = SigningKey::new(&Secret::new(pem.to_owned()), algorithm).unwrap();
    let signature = key.sign(&message).unwrap();
    format!("{message}.{signature}")
}

fn rs256(header: &Value) -> String {
    token(key!("rsa.pem"), Algorithm::RS256, header, &Value::Null)
}

fn rsa(kid: &str) -> Value {
    jwk(key!("rsa.pub.pem"), &json!({ "kid": kid }))
}

fn p256(kid: &str) -> Value {
    jwk(key!("es256.pub.pem"), &json!({ "kid": kid }))
}

#[tokio::test]
async fn header_members_other_than_kid_have_no_effect() {
    let scene = Scene::new(&[], &["RS256", "ES256"]);
    scene.publish(&[rsa("a"), p256("b"), rsa("ü")]);
    let scene = scene.loaded().await;
    let own = jwk(key!("es256.pub.pem"), &json!({}));
    for header in [
        json!({ "kid": "a" }),
        json!({ "kid": "ü" }),
        json!({}),
        json!({ "kid": 7 }),
        json!({ "kid": null }),
        json!({ "kid": "a", "jku": "https://127.0.0.1:1/jwks.json", "x5u": "https://127.0.0.1:1/" }),
        json!({ "kid": "a", "jwk": own, "x5c": ["AAAA"], "x5t": "AA" }),
    ] {
        let verdict = scene.verify(&rs256(&header));
        assert!(verdict.is_ok(), "{header} {verdict:?}");
    }
    for (header, expected) in [
        (json!({ "kid": "c" }), TokenError::UnknownKey("c".into())),
        (json!({ "kid": "A" }), TokenError::UnknownKey("A".into())),
        (json!({ "kid": "" }), TokenError::UnknownKey(String::new())),
        (
            json!({ "kid": "b" }),
            TokenError::AlgorithmOfOtherKey {
                algorithm: Algorithm::RS256,
                kid: "b".into(),
            },
        ),
    ] {
        assert_eq!(scene.verify(&rs256(&header)), Err(expected), "{header}");
    }
    // An attacker's token that carries its own key, in each possible way.
    let stranger = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let pem = pem::encode(&pem::Pem::new(
        "PRIVATE KEY",
        stranger.to_pkcs8().unwrap().as_ref(),
    ));
    for header in [json!({ "kid": "a" }), json!({ "kid": "a", "jwk": own })] {
        let token = token(&pem, Algorithm::EdDSA, &header, &Value::Null);
        assert!(scene.verify(&token).is_err());
    }
}

#[tokio::test]
async fn a_public_key_is_never_the_secret_of_an_hmac() {
    for algorithms in [&["RS256", "HS256"][..], &["HS256"], &["RS256"]] {
        let scene = Scene::new(&["an-hmac-secret"], algorithms);
        scene.publish(&[
            rsa("a"),
            json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "o", "alg": "HS256" }),
        ]);
        let scene = scene.loaded().await;
        let n = rsa("a")["n"].as_str().unwrap().to_owned();
        let document = String::from_utf8(document(&[rsa("a")])).unwrap();
        for secret in [key!("rsa.pub.pem"), &n, &document, "secret", ""] {
            for kid in ["a", "o", "x"] {
                let header = json!({ "alg": "HS256", "kid": kid }).to_string();
                let payload = json!({ "user_id": USER, "session_id": SESSION }).to_string();
                let token = signed(secret, header, payload);
                let verdict = scene.verify(&token);
                assert!(verdict.is_err(), "{secret} {kid} {algorithms:?}");
                // An HMAC token never causes a read.
                assert!(!verdict.unwrap_err().lacks_key());
            }
        }
    }
}

#[tokio::test]
async fn secrets_verify_hmac_and_the_set_everything_else() {
    let scene = Scene::new(&["an-hmac-secret"], &["RS256", "HS256"]);
    scene.publish(&[rsa("a")]);
    let payload = json!({ "user_id": USER, "session_id": SESSION }).to_string();
    let hmac = signed("an-hmac-secret", r#"{"alg":"HS256"}"#, payload);
    // Tokens that need no key of the set are good before there is one.
    assert!(scene.verify(&hmac).is_ok());
    let scene = scene.loaded().await;
    assert!(scene.verify(&hmac).is_ok());
    assert!(scene.verify(&rs256(&json!({ "kid": "a" }))).is_ok());
    let refused = Scene::try_new(&[key!("rsa.pub.pem")], &["RS256"]).err();
    assert!(matches!(
        refused,
        Some(AuthError::PemBesideJwks {
            number: 1,
            count: 1
        })
    ));
}

#[tokio::test]
async fn allowed_algorithms_restrict_the_set() {
    let scene = Scene::new(&[], &["ES256", "PS256"]);
    scene.publish(&[rsa("a"), p256("b")]);
    let scene = scene.loaded().await;
    assert!(matches!(
        scene.verify(&rs256(&json!({ "kid": "a" }))),
        Err(TokenError::AlgorithmNotAllowed { .. })
    ));
    let (rsa, p256) = (key!("rsa.pem"), key!("es256.pem"));
    for (pem, algorithm, kid) in [(rsa, Algorithm::PS256, "a"), (p256, Algorithm::ES256, "b")] {
        let token = token(pem, algorithm, &json!({ "kid": kid }), &Value::Null);
        assert!(scene.verify(&token).is_ok(), "{algorithm:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_set_only_tokens_that_no_key_could_make_valid_are_refused_at_once() {
    let scene = Scene::new(&[], &["RS256"]);
    let expired = json!({ "exp": NOW - 1 });
    let nobody = json!({ "user_id": "nobody" });
    let claiming = |extra: &Value| {
        let header = json!({ "kid": "a" });
        token(key!("rsa.pem"), Algorithm::RS256, &header, extra)
    };
    for bad in [
        claiming(&expired),
        claiming(&nobody),
        "a.b.c".to_owned(),
        rs256(&json!({ "crit": [] })),
        claiming(&json!({})).rsplit_once('.').unwrap().0.to_owned() + ".",
    ] {
        // Immediately, although no task reads the set.
        let began = Instant::now();
        let error = scene.verify_by(&bad).await.unwrap_err();
        assert!(!error.is_temporary(), "{error}");
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    let began = Instant::now();
    let verdict = scene.verify_by(&rs256(&json!({ "kid": "a" }))).await;
    assert_eq!(verdict, Err(TokenError::NoKeySet));
    assert_eq!(began.elapsed(), LIMIT);
    assert!(scene.verifier.check().is_err());
}

#[tokio::test]
async fn tokens_wait_for_the_first_set_and_then_for_a_newer_one() {
    let scene = Scene::new(&[], &["RS256", "ES256"]);
    scene.publish(&[rsa("a")]);
    let early = rs256(&json!({ "kid": "a" }));
    let es256 = |kid: &str| {
        let header = json!({ "kid": kid });
        token(key!("es256.pem"), Algorithm::ES256, &header, &Value::Null)
    };
    let running = tokio::spawn(scene.jwks().clone().run());
    assert!(scene.verify_by(&early).await.is_ok());
    assert_eq!(scene.verifier.check(), Ok(()));
    // Used right after it is published.
    scene.publish(&[rsa("a"), p256("b")]);
    assert!(scene.verify_by(&es256("b")).await.is_ok());
    // A moment later such a token is refused without waiting, until the set is read for another reason.
    scene.publish(&[rsa("a"), p256("b"), p256("c")]);
    let unknown = scene.verify_by(&es256("c")).await;
    assert_eq!(unknown, Err(TokenError::UnknownKey("c".into())));
    let mut progress = scene.jwks().progress.subscribe();
    let ended = progress.borrow().ended;
    assert_eq!(ended, 2);
    scene.jwks().reload();
    let renewed = progress.wait_for(|progress| progress.ended > ended).await;
    drop(renewed.unwrap());
    assert!(scene.verify(&es256("c")).is_ok());
    // While the source fails, the last set stays, and unknown keys cannot be judged.
    fs::remove_file(scene.directory.path().join("jwks.json")).unwrap();
    scene.jwks().reload();
    let failed = progress.wait_for(|progress| progress.failure.is_some());
    drop(failed.await.unwrap());
    assert!(scene.verify_by(&es256("c")).await.is_ok());
    let unknown = scene.verify_by(&es256("d")).await;
    assert_eq!(unknown, Err(TokenError::NoKeySet));
    assert_eq!(scene.verifier.check(), Ok(()));
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn any_number_of_unknown_keys_costs_one_read_in_each_cool_down() {
    let scene = Scene::new(&[], &["RS256"]);
    scene.publish(&[rsa("a")]);
    let running = tokio::spawn(scene.jwks().clone().run());
    assert!(
        scene
            .verify_by(&rs256(&json!({ "kid": "a" })))
            .await
            .is_ok()
    );
    let count = || scene.jwks().progress.borrow().ended;
    assert_eq!(count(), 1);
    let tokens: Vec<_> = (0..50)
        .map(|number| rs256(&json!({ "kid": format!("made-up-{number}") })))
        .collect();
    for round in 1..=3 {
        let verdicts = tokens.iter().map(|token| scene.verify_by(token));
        for verdict in futures_util::future::join_all(verdicts).await {
            assert!(matches!(verdict, Err(TokenError::UnknownKey(_))));
        }
        for token in &tokens {
            assert!(scene.verify_by(token).await.is_err());
        }
        assert_eq!(count(), 1 + round);
        tokio::time::advance(COOL_DOWN).await;
    }
    running.abort();
}
