//! The packets of a conversation as text, with real tokens in them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{Player, SEPARATOR};
use crate::{
    protocol::differential::conversation::{Auth, Login, Packet},
    support::jwt,
};

impl Player {
    pub(super) fn token(&self, login: Login) -> String {
        jwt::token(
            &self.users[login.user],
            &self.sessions[login.user][login.session],
        )
    }

    fn text(&self, auth: &Auth) -> String {
        let claims = |login: &Login, exp: Option<u64>| {
            let mut claims = json!({
                "user_id": self.users[login.user],
                "session_id": self.sessions[login.user][login.session],
            });
            if let Some(exp) = exp {
                claims["exp"] = exp.into();
            }
            claims
        };
        let payload = match auth {
            Auth::Token(login) => json!({ "token": self.token(*login) }).to_string(),
            Auth::Bearer(login) => {
                json!({ "token": format!(" bEARER  {} ", self.token(*login)) }).to_string()
            }
            Auth::List(login) => json!({ "token": [self.token(*login), "no"] }).to_string(),
            Auth::Beside(login, beside) => {
                format!(r#"{{"token":"{}",{beside}}}"#, self.token(*login))
            }
            Auth::Foreign(login) => {
                let (header, hmac) = (json!({ "alg": "HS256" }), aws_lc_rs::hmac::HMAC_SHA256);
                let secret = "a secret of somebody else, as long as the right one";
                let token = jwt::sign_with(&header, &claims(login, None), hmac, secret);
                json!({ "token": token }).to_string()
            }
            Auth::Expired(login) => {
                json!({ "token": jwt::sign(&claims(login, Some(1))) }).to_string()
            }
            Auth::Nobody => {
                let token = jwt::sign(&json!({ "user_id": "nobody", "session_id": "none" }));
                json!({ "token": token }).to_string()
            }
            Auth::Raw(raw) => (*raw).to_owned(),
        };
        format!("40{payload}")
    }

    pub(super) fn message(&self, packet: &Packet) -> Message {
        match packet {
            Packet::Text(text) => Message::text(text),
            Packet::Binary(bytes) => Message::binary(bytes.clone()),
            Packet::Connect(auth) => Message::text(self.text(auth)),
        }
    }

    pub(super) fn payload(&self, packets: &[Packet]) -> String {
        let packets: Vec<_> = packets
            .iter()
            .map(|packet| match packet {
                Packet::Text(text) => text.clone(),
                Packet::Binary(bytes) => format!("b{}", STANDARD.encode(bytes)),
                Packet::Connect(auth) => self.text(auth),
            })
            .collect();
        packets.join(SEPARATOR)
    }
}
