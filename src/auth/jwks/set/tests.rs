use arbtest::arbtest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, jwk::Jwk};
use serde_json::{Value, json};

use super::*;
use crate::{auth::key::SigningKey, config::ALGORITHMS, secret::Secret};

/// The public key of a PEM as a JWK, with more members, of which `null` removes one.
pub(in crate::auth) fn jwk(pem: &str, more: &Value) -> Value {
    let readers = [
        DecodingKey::from_rsa_pem,
        DecodingKey::from_ec_pem,
        DecodingKey::from_ed_pem,
    ];
    let mut keys = readers.iter().filter_map(|read| read(pem.as_bytes()).ok());
    let key = keys.next().expect("a public key");
    let jwk = Jwk::from_decoding_key(&key, None).expect("a key that a JWK can hold");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    for (name, value) in more.as_object().expect("an object") {
        jwk[name] = value.clone();
    }
    let jwk = jwk.as_object().expect("an object").clone();
    jwk.into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect()
}

pub(in crate::auth) fn document(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(&document(keys)).unwrap()
}

/// Why a set with only this key cannot be used.
fn skipped(key: &Value) -> SkipReason {
    match KeySet::parse(&document(std::slice::from_ref(key))) {
        Err(SetError::NoneUsable(mut skipped)) => skipped.remove(0).reason,
        other => panic!("{key}: {other:?}"),
    }
}

fn sign(pem: &str, algorithm: Algorithm) -> String {
    let key = SigningKey::new(&Secret::new(pem.to_owned()), algorithm).unwrap();
    key.sign("message").unwrap()
}

const RSA: (&str, &str) = (key!("rsa.pem"), key!("rsa.pub.pem"));
const P256: (&str, &str) = (key!("es256.pem"), key!("es256.pub.pem"));
const P384: (&str, &str) = (key!("es384.pem"), key!("es384.pub.pem"));
const ED25519: (&str, &str) = (key!("ed25519.pem"), key!("ed25519.pub.pem"));

#[test]
fn a_key_verifies_the_algorithms_of_its_type_and_no_other() {
    for (name, (private, public)) in [
        ("RS256", RSA),
        ("RS384", RSA),
        ("RS512", RSA),
        ("PS256", RSA),
        ("PS384", RSA),
        ("PS512", RSA),
        ("ES256", P256),
        ("ES384", P384),
        ("EdDSA", ED25519),
    ] {
        let algorithm: Algorithm = name.parse().unwrap();
        let signature = sign(private, algorithm);
        for more in [
            json!({ "kid": "a" }),
            json!({ "kid": "a", "use": "sig", "alg": name }),
            json!({ "kid": "a", "key_ops": ["sign", "verify"], "x5c": ["AAAA"], "x5t": "AA" }),
        ] {
            let set = set(&[jwk(public, &more)]);
            let verify = |kid, algorithm| set.verify(kid, algorithm, "message", &signature);
            assert_eq!(verify(Some("a"), algorithm), Ok(()), "{name} {more}");
            assert_eq!(verify(None, algorithm), Ok(()), "{name} {more}");
            let unknown = Err(Mismatch::UnknownKey);
            assert_eq!(verify(Some("b"), algorithm), unknown, "{name} {more}");
            let forged = set.verify(Some("a"), algorithm, "massage", &signature);
            assert_eq!(forged, Err(Mismatch::Signature), "{name} {more}");
            for other in ALGORITHMS.iter().filter(|other| **other != name) {
                let other = other.parse().unwrap();
                assert!(verify(Some("a"), other).is_err(), "{name} as {other:?}");
                assert!(verify(None, other).is_err(), "{name} as {other:?}");
            }
        }
    }
}

#[test]
fn the_alg_of_a_key_is_the_only_one_that_it_verifies() {
    let set = set(&[jwk(RSA.1, &json!({ "kid": "a", "alg": "PS256" }))]);
    let verify = |algorithm| set.verify(Some("a"), algorithm, "message", &sign(RSA.0, algorithm));
    assert_eq!(verify(Algorithm::PS256), Ok(()));
    assert_eq!(verify(Algorithm::RS256), Err(Mismatch::Algorithm));
    assert_eq!(set.to_string(), "\"a\" (PS256)");
}

#[test]
fn keys_that_must_not_verify_tokens_are_skipped_with_the_reason() {
    let rsa = |more: Value| jwk(RSA.1, &more);
    let zeros = |pem: &str, zeros: usize| {
        // Leading zeros in the modulus make a short key look long.
        let n = jwk(pem, &json!({}))["n"].as_str().unwrap().to_owned();
        let modulus = URL_SAFE_NO_PAD.decode(n).unwrap();
        let n = URL_SAFE_NO_PAD.encode([vec![0; zeros], modulus].concat());
        jwk(pem, &json!({ "n": n }))
    };
    let p256 = |more: Value| jwk(P256.1, &more);
    let point = p256(json!({}));
    for (key, expected) in [
        (json!({ "kty": "oct", "k": "c2VjcmV0" }), SkipReason::Secret),
        (
            json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "use": "sig" }),
            SkipReason::Secret,
        ),
        (rsa(json!({ "d": "AAAA" })), SkipReason::Private),
        (p256(json!({ "d": "" })), SkipReason::Private),
        (rsa(json!({ "use": "enc" })), SkipReason::Use("enc".into())),
        (rsa(json!({ "use": "" })), SkipReason::Use(String::new())),
        (rsa(json!({ "use": "SIG" })), SkipReason::Use("SIG".into())),
        (rsa(json!({ "key_ops": [] })), SkipReason::Operations),
        (
            rsa(json!({ "key_ops": ["encrypt", "sign"] })),
            SkipReason::Operations,
        ),
        (rsa(json!({ "alg": "HS256" })), SkipReason::Algorithm),
        (rsa(json!({ "alg": "ES256" })), SkipReason::Algorithm),
        (rsa(json!({ "alg": "RSA-OAEP" })), SkipReason::Algorithm),
        (rsa(json!({ "alg": "none" })), SkipReason::Algorithm),
        (p256(json!({ "alg": "ES384" })), SkipReason::Algorithm),
        (
            jwk(key!("rsa1024.pub.pem"), &json!({})),
            SkipReason::RsaSize(1024),
        ),
        (
            zeros(key!("rsa1024.pub.pem"), 128),
            SkipReason::RsaSize(1024),
        ),
        (rsa(json!({ "e": "AQ" })), SkipReason::Damaged),
        (rsa(json!({ "e": "AAE" })), SkipReason::Damaged),
        (rsa(json!({ "e": "AQAA" })), SkipReason::Damaged),
        (rsa(json!({ "e": "" })), SkipReason::Damaged),
        (rsa(json!({ "e": "AQAAAAAB" })), SkipReason::Damaged),
        (rsa(json!({ "n": "" })), SkipReason::Damaged),
        (rsa(json!({ "n": "!" })), SkipReason::Damaged),
        (p256(json!({ "crv": "P-384" })), SkipReason::Damaged),
        (p256(json!({ "crv": "secp256k1" })), SkipReason::Type),
        (p256(json!({ "crv": "P-521" })), SkipReason::Type),
        (p256(json!({ "crv": "Ed25519" })), SkipReason::Type),
        (p256(json!({ "x": point["y"] })), SkipReason::Damaged),
        (p256(json!({ "y": null })), SkipReason::Type),
        (jwk(ED25519.1, &json!({ "crv": "P-256" })), SkipReason::Type),
        (
            jwk(ED25519.1, &json!({ "crv": "X25519" })),
            SkipReason::Type,
        ),
        (jwk(ED25519.1, &json!({ "x": "AAAA" })), SkipReason::Damaged),
        (
            json!({ "kty": "AKP", "alg": "ML-DSA-44" }),
            SkipReason::Type,
        ),
        (json!({}), SkipReason::Type),
    ] {
        assert_eq!(skipped(&key), expected, "{key}");
    }
    for key in [
        json!(null),
        json!("key"),
        json!([]),
        rsa(json!({ "use": 1 })),
        rsa(json!({ "kid": 7 })),
        rsa(json!({ "key_ops": "verify" })),
    ] {
        assert!(matches!(skipped(&key), SkipReason::NotAKey(_)), "{key}");
    }
}

#[test]
fn good_keys_stay_when_others_are_bad() {
    let set = set(&[
        json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "shared" }),
        jwk(P256.1, &json!({ "kid": "good" })),
        json!(7),
        jwk(RSA.1, &json!({ "use": "enc", "kid": "x".repeat(1000) })),
    ]);
    assert_eq!(set.count(), 1);
    assert_eq!(set.to_string(), "\"good\" (ES256)");
    let told = list(set.skipped());
    assert!(told.starts_with("\"shared\": a shared secret"), "{told}");
    assert!(told.contains("; key 3: not a JSON Web Key: "), "{told}");
    assert!(told.contains("x\"…: its \"use\" is \"enc\""), "{told}");
    assert!(told.len() < 500, "{told}");
}

#[test]
fn a_document_without_a_usable_key_is_no_set() {
    for text in [
        "",
        "[]",
        "{}",
        "<html>",
        r#"{"keys":{}}"#,
        r#"{"keys":[],"keys":[]}"#,
        "\u{feff}{}",
    ] {
        let parsed = KeySet::parse(text.as_bytes());
        assert!(matches!(parsed, Err(SetError::NotASet(_))), "{text}");
    }
    assert!(matches!(
        KeySet::parse(br#"{"keys":[],"more":1}"#),
        Err(SetError::Empty)
    ));
    let not_utf8 = [&document(&[jwk(RSA.1, &json!({}))])[..], b"\xff"].concat();
    assert!(KeySet::parse(&not_utf8).is_err());
}

#[test]
fn keys_may_share_a_kid_or_have_none() {
    let kid = json!({ "kid": "a" });
    let signature = sign(P256.0, Algorithm::ES256);
    let verify =
        |keys: &[Value], kid| set(keys).verify(kid, Algorithm::ES256, "message", &signature);
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let stranger = |more: &Value| {
        let mut key = jwk(P256.1, more);
        key["x"] = URL_SAFE_NO_PAD.encode(x).into();
        key["y"] = URL_SAFE_NO_PAD.encode(y).into();
        key
    };
    // The same kid for two of one type, and for two of different types.
    let (own, rsa) = (jwk(P256.1, &kid), jwk(RSA.1, &kid));
    for keys in [
        [stranger(&kid), own.clone()],
        [rsa.clone(), own.clone()],
        [own.clone(), rsa],
    ] {
        assert_eq!(verify(&keys, Some("a")), Ok(()));
        assert_eq!(verify(&keys, None), Ok(()));
    }
    assert_eq!(
        verify(&[stranger(&kid)], Some("a")),
        Err(Mismatch::Signature)
    );
    assert_eq!(
        verify(&[jwk(RSA.1, &kid)], Some("a")),
        Err(Mismatch::Algorithm)
    );
    // A key without kid matches any token, also one whose key is not in the set yet.
    let nameless = json!({});
    assert_eq!(verify(&[jwk(P256.1, &nameless)], Some("a")), Ok(()));
    for kid in [Some("a"), None] {
        let verdict = verify(&[stranger(&nameless)], kid);
        assert_eq!(verdict, Err(Mismatch::UnknownKey), "{kid:?}");
    }
    // An empty kid counts as a kid.
    let empty = json!({ "kid": "" });
    assert_eq!(verify(&[jwk(P256.1, &empty)], Some("")), Ok(()));
    assert_eq!(
        verify(&[jwk(P256.1, &empty)], Some("a")),
        Err(Mismatch::UnknownKey)
    );
    // The number of keys tried is bounded.
    let mut many = vec![stranger(&nameless); MAX_TRIES];
    many.push(jwk(P256.1, &nameless));
    assert_eq!(verify(&many, None), Err(Mismatch::UnknownKey));
    assert_eq!(verify(&many[1..], None), Ok(()));
}

#[test]
fn a_set_has_a_limit_of_keys() {
    let key = jwk(ED25519.1, &json!({}));
    let set = set(&vec![key; MAX_KEYS + 10]);
    assert_eq!((set.count(), set.skipped().len()), (MAX_KEYS, 1));
    assert_eq!(
        list(set.skipped()),
        "key 101: the set has more than 100 keys"
    );
}

#[test]
fn no_document_makes_the_reader_panic() {
    let good = document(&[
        jwk(RSA.1, &json!({ "kid": "a", "use": "sig", "alg": "RS256" })),
        jwk(P256.1, &json!({ "kid": "b", "key_ops": ["verify"] })),
        jwk(ED25519.1, &json!({})),
    ]);
    arbtest(|u| {
        let mut bytes = good.clone();
        for _ in 0..u.int_in_range(1..=8)? {
            let at = u.choose_index(bytes.len())?;
            match u.int_in_range(0..=2)? {
                0 => bytes[at] = u.arbitrary()?,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, u.arbitrary()?),
            }
        }
        if let Ok(set) = KeySet::parse(&bytes) {
            assert!(set.count() > 0);
            let signature = "AAAA";
            let verdict = set.verify(None, Algorithm::RS256, "message", signature);
            assert!(verdict.is_err());
            assert!(set.to_string().len() + list(set.skipped()).len() < 10_000);
        }
        Ok(())
    });
}
