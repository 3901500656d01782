//! Which tokens get their bearers in.

use aws_lc_rs::{
    hmac::{self, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
        RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    login::handshake::verdict,
    support::{jwt, sockd::Sockd},
};

const IN: &str = "in";
const INVALID: &str = "TOKEN_INVALID";

fn key(name: &str) -> String {
    let path = format!("{}/tests/fixtures/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("a key of the tests")
}

fn pkcs8(name: &str) -> Vec<u8> {
    pem::parse(key(name)).expect("PEM").into_contents()
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock").as_secs()
}

fn message(algorithm: &str, payload: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "alg": algorithm, "typ": "JWT" });
    format!("{}.{}", encode(&header), encode(payload))
}

fn claims() -> Value {
    json!({ "user_id": jwt::user(), "session_id": jwt::session() })
}

fn with(more: Value) -> Value {
    let mut claims = claims();
    let more = more.as_object().expect("an object").clone();
    claims.as_object_mut().expect("an object").extend(more);
    claims
}

fn hs(algorithm: &str, secret: &str) -> String {
    let digest = match algorithm {
        "HS384" => HMAC_SHA384,
        "HS512" => HMAC_SHA512,
        _ => HMAC_SHA256,
    };
    let message = message(algorithm, &claims());
    let signature = hmac::sign(
        &hmac::Key::new(digest, secret.as_bytes()),
        message.as_bytes(),
    );
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn rsa(algorithm: &str, encoding: &'static dyn RsaEncoding) -> String {
    let message = message(algorithm, &claims());
    let pair = RsaKeyPair::from_pkcs8(&pkcs8("rsa.pem")).expect("an RSA key");
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        encoding,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .expect("a signature");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn ecdsa(algorithm: &str, signing: &'static EcdsaSigningAlgorithm, name: &str) -> String {
    let message = message(algorithm, &claims());
    let pair = EcdsaKeyPair::from_pkcs8(signing, &pkcs8(name)).expect("an EC key");
    let signature = pair
        .sign(&SystemRandom::new(), message.as_bytes())
        .expect("a signature");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

async fn judge(sockd: &Sockd, token: &str) -> String {
    verdict(sockd, "", &[], &json!({ "token": token })).await
}

#[tokio::test]
async fn hmac_tokens_are_valid_only_under_the_listed_algorithms() {
    let all = ["HS256", "HS384", "HS512"];
    for (listed, good) in [
        (None, &["HS256"][..]),
        (Some(""), &["HS256"]),
        (Some(" , "), &["HS256"]),
        (Some("HS384"), &["HS384"]),
        (Some("HS256, HS512"), &["HS256", "HS512"]),
    ] {
        let mut builder = Sockd::builder();
        if let Some(listed) = listed {
            builder = builder.env("JWT_ALGORITHMS", listed);
        }
        let sockd = builder.start().await;
        for algorithm in all {
            let expected = if good.contains(&algorithm) {
                IN
            } else {
                INVALID
            };
            let found = judge(&sockd, &hs(algorithm, jwt::SECRET)).await;
            assert_eq!(found, expected, "{algorithm} under {listed:?}");
        }
        assert_eq!(judge(&sockd, &hs(good[0], "another secret")).await, INVALID);
    }
}

#[tokio::test]
async fn a_public_key_verifies_its_own_kind_and_is_never_an_hmac_secret() {
    let rs256 = || rsa("RS256", &RSA_PKCS1_SHA256);
    let es256 = || ecdsa("ES256", &ECDSA_P256_SHA256_FIXED_SIGNING, "es256.pem");
    let es384 = || ecdsa("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING, "es384.pem");
    let confused = |name: &str| hs("HS256", &key(name));
    let rsa_key = "rsa.pub.pem";
    for (file, listed, token, expected) in [
        (rsa_key, "RS256", rs256(), IN),
        (rsa_key, "RS256,PS256", rs256(), IN),
        (rsa_key, "PS256", rs256(), INVALID),
        (rsa_key, "RS512", rsa("RS512", &RSA_PKCS1_SHA512), IN),
        (rsa_key, "PS256", rsa("PS256", &RSA_PSS_SHA256), IN),
        (rsa_key, "PS384", rsa("PS384", &RSA_PSS_SHA384), IN),
        (rsa_key, "RS256", rsa("RS256", &RSA_PSS_SHA256), INVALID),
        (rsa_key, "RS256", es256(), INVALID),
        (rsa_key, "HS256,RS256", rs256(), IN),
        (rsa_key, "HS256,RS256", confused(rsa_key), INVALID),
        (
            rsa_key,
            "RS256,HS256",
            hs("HS256", key(rsa_key).trim()),
            INVALID,
        ),
        ("es256.pub.pem", "ES256", es256(), IN),
        (
            "es256.pub.pem",
            "ES256,HS256",
            confused("es256.pub.pem"),
            INVALID,
        ),
        ("es384.pub.pem", "ES384", es384(), IN),
        ("es384.pub.pem", "ES384", es256(), INVALID),
        ("rsa.crt.pem", "RS256", rs256(), IN),
    ] {
        let sockd = Sockd::builder()
            .env("JWT_SECRET", key(file))
            .env("JWT_ALGORITHMS", listed)
            .start()
            .await;
        assert_eq!(judge(&sockd, &token).await, expected, "{file} {listed}");
    }
}

#[tokio::test]
async fn a_pem_key_after_other_lines_is_found() {
    let attributes = "Bag Attributes\n    friendlyName: api\n    localKeyID: 54 69\n";
    for before in [attributes, "subject=CN = api\n\n", "\u{feff}"] {
        let sockd = Sockd::builder()
            .env("JWT_SECRET", format!("{before}{}", key("rsa.pub.pem")))
            .env("JWT_ALGORITHMS", "RS256")
            .start()
            .await;
        let token = rsa("RS256", &RSA_PKCS1_SHA256);
        assert_eq!(judge(&sockd, &token).await, IN, "{before:?}");
    }
}

#[tokio::test]
async fn an_unsigned_token_is_never_accepted() {
    let sockd = Sockd::start().await;
    let signature = URL_SAFE_NO_PAD.encode([0; 32]);
    for algorithm in ["none", "None", "NONE", "HS256", "hs256", ""] {
        let unsigned = message(algorithm, &claims());
        for token in [
            format!("{unsigned}."),
            unsigned.clone(),
            format!("{unsigned}.{signature}"),
        ] {
            assert_eq!(judge(&sockd, &token).await, INVALID, "{algorithm} {token}");
        }
    }
    let good = hs("HS256", jwt::SECRET);
    for token in [
        format!("{good}."),
        format!(".{good}"),
        format!("{good}="),
        good[..good.len() - 2].to_owned(),
        good.replace('.', ".."),
        "a.b.c".to_owned(),
    ] {
        assert_eq!(judge(&sockd, &token).await, INVALID, "{token}");
    }
}

#[tokio::test]
async fn times_are_optional_numbers_without_leeway() {
    let sockd = Sockd::start().await;
    let now = now();
    for (more, expected) in [
        (json!({ "exp": now + 60 }), IN),
        (json!({ "exp": now as f64 + 60.5 }), IN),
        (json!({ "exp": 9e15 }), IN),
        (json!({ "exp": 9_000_000_000_000_000_u64 }), IN),
        (json!({ "exp": now - 1 }), INVALID),
        (json!({ "exp": now }), INVALID),
        (json!({ "exp": now as f64 - 0.5 }), INVALID),
        (json!({ "exp": 0 }), INVALID),
        (json!({ "exp": -1 }), INVALID),
        (json!({ "exp": (now + 60).to_string() }), INVALID),
        (json!({ "exp": null }), INVALID),
        (json!({ "exp": [] }), INVALID),
        (json!({ "exp": true }), INVALID),
        (json!({ "nbf": now }), IN),
        (json!({ "nbf": now - 60, "exp": now + 60 }), IN),
        (json!({ "nbf": -9e15 }), IN),
        (json!({ "nbf": now + 60 }), INVALID),
        (json!({ "nbf": 9e15 }), INVALID),
        (json!({ "nbf": "0" }), INVALID),
        (json!({ "nbf": null }), INVALID),
    ] {
        let token = jwt::sign(&with(more.clone()));
        assert_eq!(judge(&sockd, &token).await, expected, "{more}");
    }
}

#[tokio::test]
async fn other_claims_do_not_matter_whatever_they_hold() {
    let sockd = Sockd::start().await;
    for name in [
        "iat",
        "aud",
        "iss",
        "sub",
        "jti",
        "kid",
        "typ",
        "role",
        "__proto__",
    ] {
        for value in [json!(null), json!("x"), json!(9e99), json!([{}]), json!({})] {
            let token = jwt::sign(&with(json!({ name: value })));
            assert_eq!(judge(&sockd, &token).await, IN, "{name}");
        }
    }
    let header = json!({ "alg": "HS256", "typ": 7, "kid": { "a": [] }, "cty": null });
    let token = jwt::sign_with(&header, &claims(), HMAC_SHA256, jwt::SECRET);
    assert_eq!(judge(&sockd, &token).await, IN);
}

#[tokio::test]
async fn ids_are_trimmed_and_match_their_format_in_any_case() {
    let sockd = Sockd::start().await;
    let (user, session) = ("65f1a2b3c4d5e6f708192a3b", jwt::session());
    let session = session.as_str();
    for (user_id, session_id, expected) in [
        (json!(user), json!(session), IN),
        (
            json!(format!("  {user}\n")),
            json!(format!("\t{session} ")),
            IN,
        ),
        (json!(user[..23]), json!(session), INVALID),
        (json!(format!("{user}0")), json!(session), INVALID),
        (json!(user.replace('f', "g")), json!(session), INVALID),
        (json!(format!("{user}\n{user}")), json!(session), INVALID),
        (json!(""), json!(session), INVALID),
        (json!(7), json!(session), INVALID),
        (json!([user]), json!(session), INVALID),
        (json!(null), json!(session), INVALID),
        (
            json!(user),
            json!("d8b6e9f0-3c1a-6b2d-8e4f-0a1b2c3d4e5f"),
            INVALID,
        ),
        (
            json!(user),
            json!("d8b6e9f0-3c1a-0b2d-8e4f-0a1b2c3d4e5f"),
            INVALID,
        ),
        (
            json!(user),
            json!("d8b6e9f0-3c1a-4b2d-ce4f-0a1b2c3d4e5f"),
            INVALID,
        ),
        (
            json!(user),
            json!("d8b6e9f03c1a4b2d8e4f0a1b2c3d4e5f"),
            INVALID,
        ),
        (
            json!(user),
            json!("{d8b6e9f0-3c1a-4b2d-8e4f-0a1b2c3d4e5f}"),
            INVALID,
        ),
        (json!(user), json!(""), INVALID),
        (json!(user), json!({}), INVALID),
    ] {
        let claims = json!({ "user_id": user_id, "session_id": session_id });
        assert_eq!(
            judge(&sockd, &jwt::sign(&claims)).await,
            expected,
            "{claims}"
        );
    }
    for payload in [
        json!([]),
        json!("text"),
        json!(7),
        json!(null),
        json!({ "user_id": user }),
    ] {
        assert_eq!(
            judge(&sockd, &jwt::sign(&payload)).await,
            INVALID,
            "{payload}"
        );
    }
}

#[tokio::test]
async fn another_spelling_is_another_user_and_another_session() {
    let sockd = Sockd::start().await;
    let (user, session) = (
        "abcdef0123456789abcdef01",
        "d8b6e9f0-3c1a-4b2d-8e4f-0a1b2c3d4e5f",
    );
    let judge_ids =
        async |user: &str, session: &str| judge(&sockd, &jwt::token(user, session)).await;
    assert_eq!(judge_ids(user, session).await, IN);
    let upper = session.to_uppercase();
    assert_eq!(judge_ids(user, &upper).await, "SESSION_MISMATCH");
    assert_eq!(judge_ids(&user.to_uppercase(), &upper).await, IN);
    assert_eq!(judge_ids(user, session).await, IN);
}

#[tokio::test]
async fn a_number_in_a_token_is_an_id_if_ids_are_integers() {
    let sockd = Sockd::builder()
        .env("SOCKD_IDS__USER", "integer")
        .env("SOCKD_IDS__SESSION", "integer")
        .start()
        .await;
    for (user, session, expected) in [
        (json!(42), json!(7), IN),
        (json!("42"), json!("7"), IN),
        (json!(42.0), json!(7.0), IN),
        // The same user with another session.
        (json!(42), json!(8), "SESSION_MISMATCH"),
        (json!(-1), json!(7), INVALID),
        (json!(4.5), json!(7), INVALID),
        (json!(9_007_199_254_740_991_u64), json!(7), IN),
        (json!(9_007_199_254_740_992_u64), json!(7), INVALID),
        (json!("9007199254740992"), json!(7), IN),
        (json!(1e21), json!(7), INVALID),
        (json!(43), json!(null), INVALID),
    ] {
        let claims = json!({ "user_id": user, "session_id": session });
        let found = judge(&sockd, &jwt::sign(&claims)).await;
        assert_eq!(found, expected, "{claims}");
    }
}
