//! The operator's commands: what they print, where, and what they exit with.

mod batch;
mod config;
mod doctor;
mod drain;
mod emit;
mod force_logout;
mod keys;
mod kick;
mod listen;
mod output;
mod proxy;
mod proxy_protocol;
mod reload;
mod serve;
mod sessions;
mod status;
mod token;
mod trace;

use crate::support::{sockd::Sockd, websocket::WebSocket};

/// A URL where nothing answers: nothing listens on port 1 of this address.
const NOWHERE: &str = "http://127.0.0.1:1";

/// Emits one more event to the user, and sees that nothing else has come before it.
async fn nothing_came(sockd: &Sockd, socket: &mut WebSocket, user: &str) {
    let marker = serde_json::json!("marker");
    sockd.emit(user, "account:update", &marker).await;
    assert_eq!(socket.packet().await, r#"42["account:update","marker"]"#);
}
