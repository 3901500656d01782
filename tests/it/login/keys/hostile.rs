//! What attackers try: made-up keys, confused algorithms, and keys that must not be trusted.

use std::time::Instant;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{INVALID, comes_to, count, judge, ready, with_keys, with_lasting_keys};
use crate::support::{
    issuer::{Issuer, Key, document},
    jwt,
};

fn claims() -> Value {
    json!({ "user_id": jwt::user(), "session_id": jwt::session() })
}

#[tokio::test]
async fn a_flood_of_unknown_keys_does_not_hammer_the_issuer() {
    let key = Key::eddsa("a");
    let issuer = Issuer::start(&[key.jwk()]).await;
    let sockd = ready(with_lasting_keys(&issuer.url())).await;
    let began = Instant::now();
    let stranger = Key::eddsa("b");
    for round in 0..10 {
        let tokens = (0..20).map(|number| {
            let kid = format!("made-up-{round}-{number}");
            stranger.sign(&json!({ "kid": kid }), &claims())
        });
        let tokens: Vec<_> = tokens.collect();
        let answers = join_all(tokens.iter().map(|token| judge(&sockd, token))).await;
        assert!(!answers.contains(&"in".to_owned()));
        assert_eq!(judge(&sockd, &key.token()).await, "in");
    }
    let cool_downs = began.elapsed().as_secs() / 10 + 1;
    let requests = issuer.requests() as u64;
    assert!((2..=1 + cool_downs).contains(&requests), "{requests}");
    // A short log too: one line for the set, and none for a stranger above debug.
    assert_eq!(count(&sockd, " WARN "), 1, "of sessions in memory");
}

#[tokio::test]
async fn tokens_that_no_key_could_verify_fetch_no_key_set() {
    let key = Key::es256("a");
    let issuer = Issuer::start(&[key.jwk()]).await;
    let sockd = ready(with_lasting_keys(&issuer.url())).await;
    let unknown = json!({ "kid": "made-up" });
    let with = |more: Value| {
        let mut claims = claims();
        let more = more.as_object().expect("an object").clone();
        claims.as_object_mut().expect("an object").extend(more);
        claims
    };
    for token in [
        key.sign(&unknown, &with(json!({ "exp": 1 }))),
        key.sign(&unknown, &with(json!({ "nbf": 9e12 }))),
        key.sign(&unknown, &with(json!({ "user_id": "x" }))),
        key.sign(&unknown, &json!([])),
        key.sign(&json!({ "kid": "made-up", "alg": "HS256" }), &claims()),
        key.sign(&json!({ "kid": "made-up", "alg": "none" }), &claims()),
        key.sign(&json!({ "kid": "made-up", "crit": [] }), &claims()),
        key.sign(&json!({ "kid": "a", "alg": "RS256" }), &claims()),
    ] {
        assert_eq!(judge(&sockd, &token).await, INVALID, "{token}");
    }
    assert_eq!(issuer.requests(), 1);
}

#[tokio::test]
async fn a_token_cannot_bring_its_own_key() {
    let (key, stranger) = (Key::rs256("a"), Key::rs256("a"));
    let issuer = Issuer::start(&[key.jwk()]).await;
    let lure = Issuer::start(&[stranger.jwk()]).await;
    let sockd = ready(with_lasting_keys(&issuer.url())).await;
    for kid in ["a", "b"] {
        for header in [
            json!({ "kid": kid }),
            json!({ "kid": kid, "jku": lure.url() }),
            json!({ "kid": kid, "x5u": lure.url() }),
            json!({ "kid": kid, "jwk": stranger.jwk() }),
            json!({ "kid": kid, "x5c": ["AAAA"] }),
            json!({ "kid": lure.url(), "iss": lure.url() }),
        ] {
            let token = stranger.sign(&header, &claims());
            assert_eq!(judge(&sockd, &token).await, INVALID, "{header}");
        }
    }
    let bringing = json!({ "jku": lure.url(), "jwk": stranger.jwk() });
    let own = key.sign(&bringing, &claims());
    assert_eq!(judge(&sockd, &own).await, "in");
    assert_eq!(lure.requests(), 0);
}

#[tokio::test]
async fn algorithms_cannot_be_confused() {
    let (rsa, ec) = (Key::rs256("rsa"), Key::es256("ec"));
    let keys = [
        rsa.jwk(),
        ec.jwk(),
        json!({ "kty": "oct", "kid": "oct", "k": URL_SAFE_NO_PAD.encode(jwt::SECRET) }),
        json!({ "kty": "oct", "kid": "HS256", "alg": "HS256", "use": "sig", "k": "c2VjcmV0" }),
    ];
    let issuer = Issuer::start(&keys).await;
    let alone = ready(with_keys(&issuer.url())).await;
    // Also where HMAC is allowed, for the sake of another secret.
    let another = "another-secret-of-more-than-32-bytes";
    let both = ready(with_keys(&issuer.url()).env("JWT_SECRET", another)).await;
    let mut forged = Vec::new();
    let jwk = rsa.jwk();
    let modulus = jwk["n"].as_str().expect("a modulus");
    let documents = [
        document(&keys),
        jwk.to_string(),
        modulus.to_owned(),
        jwt::SECRET.to_owned(),
        "secret".to_owned(),
        String::new(),
    ];
    for (secret, kid) in documents
        .iter()
        .flat_map(|secret| ["rsa", "ec", "oct", "HS256"].map(|kid| (secret, kid)))
    {
        let header = json!({ "alg": "HS256", "kid": kid });
        forged.push(jwt::sign_with(
            &header,
            &claims(),
            hmac::HMAC_SHA256,
            secret,
        ));
    }
    for (key, kid, alg) in [
        (&rsa, "ec", "RS256"),
        (&rsa, "ec", "ES256"),
        (&ec, "rsa", "ES256"),
        (&ec, "rsa", "RS256"),
        (&ec, "ec", "ES384"),
        (&rsa, "rsa", "PS256"),
        (&rsa, "rsa", "RS512"),
        (&rsa, "rsa", "none"),
        (&rsa, "rsa", "rs256"),
    ] {
        forged.push(key.sign(&json!({ "kid": kid, "alg": alg }), &claims()));
    }
    let unsigned = rsa.sign(&json!({ "alg": "none" }), &claims());
    forged.push(unsigned.rsplit_once('.').expect("three parts").0.to_owned() + ".");
    for sockd in [&alone, &both] {
        for token in &forged {
            assert_eq!(judge(sockd, token).await, INVALID, "{token}");
        }
        assert_eq!(judge(sockd, &rsa.token()).await, "in");
        assert_eq!(judge(sockd, &ec.token()).await, "in");
    }
}

#[tokio::test]
async fn keys_that_are_not_for_tokens_are_skipped_and_named() {
    let good = Key::es256("good");
    let with = |key: &Key, name: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[name] = value;
        jwk
    };
    let (encrypting, leaked, other) = (Key::rs256("enc"), Key::es256("leaked"), Key::rs256("alg"));
    let small = json!({
        "kty": "RSA", "kid": "small", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([0xff; 128]),
    });
    let issuer = Issuer::start(&[
        with(&encrypting, "use", json!("enc")),
        with(&leaked, "d", json!("AAAA")),
        with(&other, "alg", json!("PS512")),
        small,
        good.jwk(),
    ])
    .await;
    let sockd = ready(with_keys(&issuer.url())).await;
    assert_eq!(judge(&sockd, &good.token()).await, "in");
    for key in [&encrypting, &leaked, &other] {
        comes_to(&sockd, &key.token(), INVALID).await;
    }
    for words in [
        "\\\"enc\\\": its \\\"use\\\" is",
        "\\\"leaked\\\": published with its private key",
        "\\\"small\\\": its RSA key has 1024 bits",
    ] {
        sockd.logs(words).await;
    }
    assert!(
        !sockd.log().text().contains("\\\"alg\\\": its"),
        "PS512 fits an RSA key"
    );
}

/// The cost of a CONNECT with the largest allowed key set.
#[tokio::test]
async fn a_token_without_kid_is_tried_against_few_keys() {
    let keys: Vec<_> = (0..100)
        .map(|number| Key::eddsa(&number.to_string()))
        .collect();
    let jwks: Vec<_> = keys.iter().map(Key::jwk).collect();
    let issuer = Issuer::start(&jwks).await;
    let sockd = ready(with_lasting_keys(&issuer.url())).await;
    let nameless = |key: &Key| key.sign(&json!({ "kid": null }), &claims());
    assert_eq!(judge(&sockd, &nameless(&keys[0])).await, "in");
    assert_eq!(judge(&sockd, &nameless(&keys[99])).await, INVALID);
    assert_eq!(judge(&sockd, &keys[99].token()).await, "in");
}
