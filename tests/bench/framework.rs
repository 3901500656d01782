//! The same server on socketioxide as it comes, and as small as such a server can be: sessions in
//! memory, one kind of token, no limits.

use std::sync::Arc;

use anyhow::Context;
use axum::{Extension, Json, Router, http::HeaderMap, routing::post};
use dashmap::DashMap;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::value::RawValue;
use socketioxide::{
    SocketIo,
    extract::{SocketRef, TryData},
    handler::ConnectHandler,
};
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Auth {
    token: String,
}

#[derive(Deserialize)]
struct Claims {
    user_id: String,
    session_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Emit {
    user_id: String,
    event: String,
    payload: Box<RawValue>,
}

/// Who may come in.
struct Entrance {
    key: DecodingKey,
    validation: Validation,
    /// The active session of each user.
    sessions: DashMap<String, String>,
}

impl Entrance {
    fn new(secret: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        Self {
            key: DecodingKey::from_secret(secret.as_bytes()),
            validation,
            sessions: DashMap::new(),
        }
    }

    fn admit(&self, socket: &SocketRef, token: &str) -> Result<(), &'static str> {
        let token = decode::<Claims>(token, &self.key, &self.validation);
        let claims = token.map_err(|_| "TOKEN_INVALID")?.claims;
        let session = claims.session_id;
        let active = self.sessions.entry(claims.user_id.clone());
        if *active.or_insert_with(|| session.clone()) != session {
            return Err("SESSION_MISMATCH");
        }
        socket.join(format!("user:{}", claims.user_id));
        Ok(())
    }
}

/// Serves until the process is killed, with the environment of the other servers.
#[expect(
    clippy::print_stderr,
    reason = "whoever starts it reads the address there"
)]
pub(crate) async fn serve() -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let entrance = Arc::new(Entrance::new(&variable("JWT_SECRET")?));
    let secret = Arc::<str>::from(format!("Bearer {}", variable("INTERNAL_SECRET")?));
    let (layer, io) = SocketIo::new_layer();
    let authenticate = move |socket: SocketRef, TryData(auth): TryData<Auth>| {
        let entrance = entrance.clone();
        async move {
            let auth = auth.map_err(|_| "TOKEN_MISSING")?;
            entrance.admit(&socket, &auth.token)
        }
    };
    io.ns("/", (async || {}).with(authenticate));
    let app = Router::new()
        .route("/internal/emit", post(emit))
        .layer(Extension(io))
        .layer(Extension(secret))
        .layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("listening address={} ", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn emit(
    Extension(io): Extension<SocketIo>,
    Extension(secret): Extension<Arc<str>>,
    headers: HeaderMap,
    Json(emit): Json<Emit>,
) -> Result<&'static str, axum::http::StatusCode> {
    let given = headers.get("authorization").map(|value| value.as_bytes());
    if given != Some(secret.as_bytes()) {
        return Err(axum::http::StatusCode::UNAUTHORIZED);
    }
    let room = io.to(format!("user:{}", emit.user_id));
    match room.emit(emit.event, &*emit.payload).await {
        Ok(()) => Ok(r#"{"ok":true}"#),
        Err(_) => Err(axum::http::StatusCode::INTERNAL_SERVER_ERROR),
    }
}
