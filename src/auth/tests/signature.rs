//! Headers, signatures and the compact form.

use super::*;

#[test]
fn a_header_with_members_that_must_be_understood_is_refused() {
    for header in [
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"crit":["b64"],"b64":true,"alg":"HS256"}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":["alg","typ"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":""}"#,
        r#"{"alg":"HS256","crit":"exp"}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"{"alg":"HS256","crit":false}"#,
        r#"{"alg":"HS256","crit":{}}"#,
        r#"{"alg":"HS256","crit":["exp"],"crit":[]}"#,
        r#"{"alg":"HS256","\u0063rit":["exp"]}"#,
    ] {
        let verdict = hs256().verify(&with_header(header), NOW);
        assert_eq!(verdict, Err(TokenError::Critical), "{header}");
    }
}

#[test]
fn a_signature_counts_only_in_its_canonical_spelling() {
    let pem = key!("rsa.pub.pem");
    let auth = auth(&[pem], &["RS256"]);
    let minter = mint::TokenMinter::new(&auth, &Secret::new(key!("rsa.pem").into()), None).unwrap();
    let claims = mint::Claims {
        user: &formats().parse_user(USER).unwrap(),
        session: &formats().parse_session(SESSION).unwrap(),
        issued_at: NOW,
        ttl: None,
        extra: &serde_json::Map::new(),
    };
    let token = minter.mint(&claims).unwrap();
    assert!(verifier(&auth).verify(&token, NOW).is_ok());
    // In 256 bytes, four bits of the last character are unused: it is A, Q, g or w, but never B.
    let last = token.chars().last().unwrap();
    let next = char::from(u8::try_from(last).unwrap() + 1);
    let respelled = format!("{}{next}", &token[..token.len() - 1]);
    let verdict = verifier(&auth).verify(&respelled, NOW);
    assert_eq!(verdict, Err(TokenError::Signature));
}

#[test]
fn an_algorithm_that_is_not_allowed_is_refused() {
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"HS256 "}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
    ] {
        let verdict = hs256().verify(&with_header(header), NOW);
        assert!(
            matches!(verdict, Err(TokenError::AlgorithmNotAllowed { .. })),
            "{header} {verdict:?}"
        );
    }
    // Defined by RFC 7518 and configured, but not supported.
    let es512 = verifier(&auth(&["secret"], &["ES512", "HS256"]));
    let verdict = es512.verify(&with_header(r#"{"alg":"ES512"}"#), NOW);
    assert!(matches!(
        verdict,
        Err(TokenError::AlgorithmNotAllowed { .. })
    ));
    for header in [
        "{}",
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"ALG":"HS256"}"#,
    ] {
        let verdict = hs256().verify(&with_header(header), NOW);
        assert_eq!(verdict, Err(TokenError::NoAlgorithm), "{header}");
    }
    for header in ["[]", "5", "null", r#""HS256""#, "{", "\u{feff}{}"] {
        let verdict = hs256().verify(&with_header(header), NOW);
        assert_eq!(verdict, Err(TokenError::Header), "{header}");
    }
}

#[test]
fn an_unsigned_token_is_never_good_even_if_none_is_configured() {
    let verifier = verifier(&auth(&["secret"], &["none", "HS256"]));
    let header = base64_encode(r#"{"alg":"none"}"#);
    let payload = base64_encode(json!({ "user_id": USER, "session_id": SESSION }).to_string());
    assert_eq!(
        verifier.verify(&format!("{header}.{payload}."), NOW),
        Err(TokenError::Unsigned)
    );
    assert!(
        verifier
            .verify(&format!("{header}.{payload}.e30"), NOW)
            .is_err()
    );
    assert!(
        verifier
            .verify(&with_header(r#"{"alg":"none"}"#), NOW)
            .is_err()
    );
}

#[test]
fn a_public_key_is_never_taken_for_a_shared_secret() {
    let pem = key!("rsa.pub.pem");
    let payload = json!({ "user_id": USER, "session_id": SESSION }).to_string();
    let forged = signed(pem, r#"{"alg":"HS256"}"#, &payload);
    let both = verifier(&auth(&[pem], &["HS256", "RS256"]));
    assert_eq!(
        both.verify(&forged, NOW),
        Err(TokenError::AlgorithmWithoutKey(Algorithm::HS256))
    );
    let alone = verifier(&auth(&[pem], &["HS256"]));
    assert!(alone.verify(&forged, NOW).is_err());
}

#[test]
fn the_compact_form_is_read_as_strictly_as_node_does() {
    let good = with_claims("");
    let (message, signature) = good.rsplit_once('.').unwrap();
    let tampered = format!("{message}.A{}", &signature[1..]);
    for (token, expected) in [
        (String::new(), TokenError::Malformed),
        ("Bearer".into(), TokenError::Malformed),
        ("a.b".into(), TokenError::Malformed),
        ("..".into(), TokenError::Malformed),
        (format!("{good}."), TokenError::Malformed),
        (format!("{good}="), TokenError::Malformed),
        (format!("{good} "), TokenError::Malformed),
        (good.replace('.', ".+"), TokenError::Malformed),
        (format!("{message}."), TokenError::Unsigned),
        (tampered, TokenError::Signature),
        (format!("{good}A"), TokenError::Signature),
        ("a".repeat(MAX_TOKEN + 1), TokenError::TooLong),
    ] {
        assert_eq!(hs256().verify(&token, NOW), Err(expected), "{token:.80}");
    }
    // In 32 bytes of HMAC, two bits of the last character are unused.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).unwrap();
    let other = alphabet.chars().nth(at + 1).unwrap();
    let respelled = format!("{message}.{}{other}", &signature[..signature.len() - 1]);
    assert_eq!(hs256().verify(&respelled, NOW), Err(TokenError::Signature));
}
