//! Tokens, users and sessions, made up for one test.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The secret that the tests' servers verify tokens with.
pub const SECRET: &str = "the-tests-jwt-secret-of-32-bytes-and-more";

/// An ObjectId that no other test has.
pub fn user() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..24].to_owned()
}

/// A session that no other test has.
pub fn session() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A token without an end.
pub fn token(user: &str, session: &str) -> String {
    sign(&json!({ "user_id": user, "session_id": session }))
}

/// The CONNECT packet with this token.
pub fn connect(token: &str) -> String {
    format!("40{}", json!({ "token": token }))
}

/// A token of any payload.
pub fn sign(payload: &Value) -> String {
    sign_with(
        &json!({ "alg": "HS256", "typ": "JWT" }),
        payload,
        hmac::HMAC_SHA256,
        SECRET,
    )
}

/// A token of any header, signed with any HMAC.
pub fn sign_with(
    header: &Value,
    payload: &Value,
    algorithm: hmac::Algorithm,
    secret: &str,
) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(payload));
    let key = hmac::Key::new(algorithm, secret.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
