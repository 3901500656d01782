//! Who is admitted, for how long, and who must leave: tokens, sessions, force-logout and kick.

mod expiry;
mod force_logout;
mod handshake;
mod keys;
mod kick;
mod races;
mod renewal;
mod session;
mod tokens;

use crate::support::polling::Polling;

/// Asserts that a polling client is told why, and disconnected, and that its connection is gone.
async fn polling_is_dismissed(polling: &mut Polling, why: &str) {
    assert_eq!(polling.packet().await, why);
    assert_eq!(polling.packet().await, "41");
    // If the client polls again, it is told to close, or that its session is unknown.
    match polling.next().await {
        Ok(packet) => assert_eq!(packet, "1"),
        Err(refused) => assert!(refused.contains("Session ID unknown"), "{refused}"),
    }
    let answer = polling.poll().await;
    assert_eq!(answer.status(), 400);
}
