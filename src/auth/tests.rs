mod signature;

use std::time::Duration;

use serde_json::json;

use super::{compact::base64_encode, *};
use crate::{config::OnExpiry, id::IdFormat, secret::Secret};

pub(super) const NOW: u64 = 1_700_000_000;
pub(super) const USER: &str = "64b7f0c2a1d2e3f405162738";
pub(super) const SESSION: &str = "3f2b8c1e-5a4d-4e6f-8a9b-0c1d2e3f4a5b";

pub(super) fn auth(secrets: &[&str], algorithms: &[&str]) -> config::Auth {
    config::Auth {
        secrets: secrets
            .iter()
            .map(|text| Secret::new((*text).to_owned()))
            .collect(),
        algorithms: algorithms.iter().map(|name| (*name).to_owned()).collect(),
        user_claim: "user_id".into(),
        session_claim: "session_id".into(),
        jwks: None,
        issuers: Vec::new(),
        audiences: Vec::new(),
        on_expiry: OnExpiry::Disconnect,
    }
}

pub(super) fn formats() -> IdFormats {
    IdFormats {
        user: IdFormat::ObjectId,
        session: IdFormat::Uuid,
    }
}

pub(super) fn verifier(auth: &config::Auth) -> TokenVerifier {
    TokenVerifier::new(auth, formats()).unwrap()
}

fn hs256() -> TokenVerifier {
    verifier(&auth(&["secret"], &["HS256"]))
}

/// A token with exactly this header and payload, signed with HMAC-SHA-256.
pub(super) fn signed(secret: &str, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let message = format!("{}.{}", base64_encode(header), base64_encode(payload));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", base64_encode(tag))
}

fn with_header(header: impl AsRef<[u8]>) -> String {
    let payload = json!({ "user_id": USER, "session_id": SESSION });
    signed("secret", header, payload.to_string())
}

fn with_payload(payload: impl AsRef<[u8]>) -> String {
    signed("secret", r#"{"alg":"HS256","typ":"JWT"}"#, payload)
}

/// A payload that begins with these members, as JSON text that ends with a comma.
fn with_claims(members: &str) -> String {
    with_payload(format!(
        r#"{{{members}"user_id":"{USER}","session_id":"{SESSION}"}}"#
    ))
}

#[test]
fn a_valid_token_has_user_session_and_expiry() {
    let identity = hs256()
        .verify(&with_claims(&format!("\"exp\":{},", NOW + 60)), NOW)
        .unwrap();
    assert_eq!(identity.user.as_str(), USER);
    assert_eq!(identity.session.as_str(), SESSION);
    assert_eq!(identity.expires_at, Some(NOW + 60));
    let forever = hs256().verify(&with_claims(""), NOW).unwrap();
    assert_eq!(forever.expires_at, None);
}

#[test]
fn expiry_is_judged_as_javascript_does() {
    let good = [
        ("", None),
        (r#""exp":1700000001,"#, Some(NOW + 1)),
        (r#""exp":1700000000.5,"#, Some(NOW + 1)),
        (r#""exp":1.700000001e9,"#, Some(NOW + 1)),
        (r#""exp":9e15,"#, Some(9_000_000_000_000_000)),
        (r#""exp":9007199254740993,"#, Some(9_007_199_254_740_992)),
        (r#""exp":1e400,"#, Some(u64::MAX)),
        (r#""exp":1,"exp":1700000001,"#, Some(NOW + 1)),
        (r#""nbf":1700000000,"#, None),
        (r#""nbf":-5,"#, None),
    ];
    for (claims, expected) in good {
        let verdict = hs256().verify(&with_claims(claims), NOW);
        assert_eq!(verdict.unwrap().expires_at, expected, "{claims}");
    }
    let bad = [
        (r#""exp":1700000000,"#, TokenError::Expired(Duration::ZERO)),
        (
            r#""exp":1699999999.5,"#,
            TokenError::Expired(Duration::ZERO),
        ),
        (
            r#""exp":-1,"#,
            TokenError::Expired(Duration::from_secs(NOW + 1)),
        ),
        (r#""exp":null,"#, TokenError::NotANumber("exp")),
        (r#""exp":"1700000001","#, TokenError::NotANumber("exp")),
        (r#""exp":true,"#, TokenError::NotANumber("exp")),
        (r#""exp":[1700000001],"#, TokenError::NotANumber("exp")),
        (r#""nbf":null,"#, TokenError::NotANumber("nbf")),
        (
            r#""nbf":1700000000.5,"#,
            TokenError::NotYetValid(Duration::from_secs(1)),
        ),
        (
            r#""exp":1700000001,"exp":1700000000,"#,
            TokenError::Expired(Duration::ZERO),
        ),
    ];
    for (claims, expected) in bad {
        let verdict = hs256().verify(&with_claims(claims), NOW);
        assert_eq!(verdict, Err(expected), "{claims}");
    }
}

#[test]
fn other_claims_and_header_members_have_no_effect_whatever_their_type() {
    let deep = format!("\"x\":{}{},", "[".repeat(2_000), "]".repeat(2_000));
    let claims = [
        r#""iat":"x","aud":7,"iss":[],"sub":{},"jti":null,"#,
        r#""iat":99999999999,"#,
        r#""n":1e999,"s":"\ud800","#,
        &deep,
    ];
    for claims in claims {
        assert!(
            hs256().verify(&with_claims(claims), NOW).is_ok(),
            "{claims}"
        );
    }
    let headers: [&[u8]; 8] = [
        br#"{"alg":"HS256"}"#,
        br#"{"alg":"HS256","kid":7}"#,
        br#"{"alg":"HS256","kid":null,"typ":["JWT"],"cty":1}"#,
        br#"{"alg":"HS256","typ":"at+jwt","CRIT":["exp"],"b64":true,"jwk":{}}"#,
        br#" { "alg" : "HS256" } "#,
        br#"{"alg":"none","alg":"HS256"}"#,
        br#"{"\u0061lg":"HS256"}"#,
        b"{\"alg\":\"HS256\",\"kid\":\"\xff\"}",
    ];
    for header in headers {
        let verdict = hs256().verify(&with_header(header), NOW);
        assert!(
            verdict.is_ok(),
            "{} {verdict:?}",
            String::from_utf8_lossy(header)
        );
    }
}

#[test]
fn a_payload_must_be_an_object_with_two_strings_of_the_right_form() {
    for payload in ["[]", "null", "1", "\"x\"", "{", "", "\u{feff}{}"] {
        let verdict = hs256().verify(&with_payload(payload), NOW);
        let expected = if payload.is_empty() {
            TokenError::Malformed
        } else {
            TokenError::Payload
        };
        assert_eq!(verdict, Err(expected), "{payload:?}");
    }
    let bad = [
        json!({ "session_id": SESSION }),
        json!({ "user_id": USER }),
        json!({ "userId": USER, "session_id": SESSION }),
        json!({ "user_id": 7, "session_id": SESSION }),
        json!({ "user_id": USER, "session_id": null }),
        json!({ "user_id": [USER], "session_id": SESSION }),
        json!({ "user_id": "", "session_id": SESSION }),
        json!({ "user_id": "64b7f0c2a1d2e3f40516273", "session_id": SESSION }),
        json!({ "user_id": "64b7f0c2a1d2e3f40516273g", "session_id": SESSION }),
        json!({ "user_id": USER, "session_id": "3f2b8c1e-5a4d-6e6f-8a9b-0c1d2e3f4a5b" }),
        json!({ "user_id": format!("\u{85}{USER}"), "session_id": SESSION }),
        json!({ "user_id": format!("\u{200b}{USER}"), "session_id": SESSION }),
    ];
    for payload in bad {
        let verdict = hs256().verify(&with_payload(payload.to_string()), NOW);
        assert!(verdict.is_err(), "{payload}");
    }
    // Node replaces bytes that are not UTF-8, which affects only the claim that has them.
    let mut latin1 =
        format!(r#"{{"user_id":"{USER}","session_id":"{SESSION}","name":""#).into_bytes();
    latin1.extend_from_slice(b"J\xfcrg\"}");
    assert!(hs256().verify(&with_payload(latin1), NOW).is_ok());
}

#[test]
fn ids_are_trimmed_as_javascript_does_and_keep_their_spelling() {
    let blanks = "\u{feff}\u{a0}\t\n\u{b}\u{c}\r \u{1680}\u{2003}\u{2028}\u{2029}\u{202f}\u{3000}";
    let user = USER.to_uppercase();
    let payload = json!({
        "user_id": format!("{blanks}{user}{blanks}"),
        "session_id": format!(" {SESSION}\n"),
    });
    let identity = hs256()
        .verify(&with_payload(payload.to_string()), NOW)
        .unwrap();
    assert_eq!(identity.user.as_str(), user);
    assert_eq!(identity.session.as_str(), SESSION);
}

#[test]
fn numbers_are_ids_if_integers_are_configured() {
    let formats = |user, session| IdFormats { user, session };
    let verify = |formats: &IdFormats, user: &str, session: &str| {
        let payload = format!(r#"{{"user_id":{user},"session_id":{session}}}"#);
        TokenVerifier::new(&auth(&["secret"], &["HS256"]), formats.clone())
            .unwrap()
            .verify(&with_payload(payload), NOW)
    };
    let integers = formats(IdFormat::Integer, IdFormat::Integer);
    for (json, expected) in [
        ("42", "42"),
        ("42.0", "42"),
        ("4.2e1", "42"),
        ("0", "0"),
        ("9007199254740991", "9007199254740991"),
        (r#""42""#, "42"),
        (r#"" 42\n""#, "42"),
        (r#""9007199254740993""#, "9007199254740993"),
    ] {
        let identity = verify(&integers, json, json).unwrap();
        assert_eq!(identity.user.as_str(), expected, "{json}");
        assert_eq!(identity.session.as_str(), expected, "{json}");
    }
    for json in [
        "-1",
        "4.5",
        "9007199254740992",
        "9007199254740993",
        "1e21",
        "1e400",
        "null",
        "[42]",
        "true",
    ] {
        let not_an_integer = |claim: &str| Err(TokenError::NotAnInteger(claim.to_owned()));
        let verdict = verify(&integers, json, "1");
        assert_eq!(verdict, not_an_integer("user_id"), "{json}");
        let verdict = verify(&integers, "1", json);
        assert_eq!(verdict, not_an_integer("session_id"), "{json}");
    }
    for json in [r#""-1""#, r#""42.0""#, r#""4.2e1""#, r#""""#] {
        let verdict = verify(&integers, json, "1");
        assert!(matches!(verdict, Err(TokenError::Id { .. })), "{json}");
    }
    // One of the two is a number, and only where that one is an integer.
    let mixed = formats(IdFormat::Integer, IdFormat::Uuid);
    assert!(verify(&mixed, "42", &format!("{SESSION:?}")).is_ok());
    assert_eq!(
        verify(&mixed, "42", "42"),
        Err(TokenError::NotAString("session_id".into()))
    );
}

#[test]
fn the_last_of_a_duplicate_claim_counts() {
    let other = "000000000000000000000000";
    let token = with_claims(&format!(r#""user_id":"{other}","#));
    assert_eq!(hs256().verify(&token, NOW).unwrap().user.as_str(), USER);
    let token = with_claims(&format!(r#""user\u005fid":"{other}","#));
    assert_eq!(hs256().verify(&token, NOW).unwrap().user.as_str(), USER);
}

#[test]
fn any_of_several_secrets_may_have_signed() {
    let pem = key!("rsa.pub.pem");
    let verifier = verifier(&auth(&["new", "secret", pem], &["HS256", "RS256"]));
    assert!(verifier.verify(&with_claims(""), NOW).is_ok());
    let payload = json!({ "user_id": USER, "session_id": SESSION }).to_string();
    let header = r#"{"alg":"HS256"}"#;
    assert!(
        verifier
            .verify(&signed("new", header, &payload), NOW)
            .is_ok()
    );
    for wrong in ["old", "", pem] {
        assert_eq!(
            verifier.verify(&signed(wrong, header, &payload), NOW),
            Err(TokenError::Signature)
        );
    }
}

#[test]
fn issuer_and_audience_count_only_when_configured() {
    let mut auth = auth(&["secret"], &["HS256"]);
    auth.issuers = vec!["us".into(), "them".into()];
    auth.audiences = vec!["sockd".into(), "gateway".into()];
    let verifier = verifier(&auth);
    for claims in [
        r#""iss":"us","aud":"sockd","#,
        r#""iss":"them","aud":"gateway","#,
        r#""iss":"us","aud":["x",7,"sockd"],"#,
        r#""iss":"us","aud":["gateway","sockd"],"#,
    ] {
        assert!(
            verifier.verify(&with_claims(claims), NOW).is_ok(),
            "{claims}"
        );
    }
    for claims in [
        "",
        r#""iss":"us","#,
        r#""aud":"sockd","#,
        r#""iss":["us"],"aud":"sockd","#,
        r#""iss":"us,them","aud":"sockd","#,
        r#""iss":"us","aud":["sockd,gateway","SOCKD"],"#,
        r#""iss":"us","aud":[],"#,
        r#""iss":"us","aud":{"sockd":1},"#,
    ] {
        assert!(
            verifier.verify(&with_claims(claims), NOW).is_err(),
            "{claims}"
        );
    }
}

#[test]
fn a_secret_that_is_a_broken_pem_stops_the_start() {
    let broken = auth(&["secret", &key!("rsa.pub.pem")[..100]], &["HS256"]);
    let error = TokenVerifier::new(&broken, formats()).unwrap_err();
    assert!(error.to_string().contains("JWT secret 2 of 2"), "{error}");
    assert!(matches!(
        TokenVerifier::new(&auth(&[], &["HS256"]), formats()),
        Err(AuthError::NoSecret)
    ));
}

#[test]
fn bearer_is_removed_as_the_old_expression_did() {
    for (raw, expected) in [
        ("Bearer a.b.c", "a.b.c"),
        ("  bEaReR \t\u{a0}a.b.c\u{feff} ", "a.b.c"),
        ("Bearer", "Bearer"),
        (" Bearer  ", "Bearer"),
        ("Bearera.b.c", "Bearera.b.c"),
        ("Bearer Bearer x", "Bearer x"),
        ("a.b.c", "a.b.c"),
        ("Bearer\u{85}x", "Bearer\u{85}x"),
        ("Bearé x", "Bearé x"),
        ("", ""),
    ] {
        assert_eq!(strip_bearer(raw), expected, "{raw:?}");
    }
}

#[test]
fn no_reason_shows_the_token() {
    let token = with_claims(r#""exp":5,"#);
    let reason = hs256().verify(&token, NOW).unwrap_err();
    assert!(
        reason.to_string().starts_with("the token expired 53years"),
        "{reason}"
    );
    let extreme = with_claims(r#""exp":-1e300,"#);
    let reason = hs256().verify(&extreme, NOW).unwrap_err().to_string();
    assert!(reason.contains("ago"), "{reason}");
}
