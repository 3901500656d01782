//! Every case of the official protocol test suites of Engine.IO v4 and Socket.IO v5
//! (`docs/*-protocol/v*-test-suite` in the repository of socket.io), told in our own words.
//!
//! The suites talk to a server that echoes. sockd ignores what clients send, so a case that relies
//! on an echo sends as it does there, and reads what a backend emits.

mod engine_io;
mod socket_io;

use std::collections::HashSet;

/// Cases that do not apply, and why.
const NOT_APPLICABLE: [(&str, &str); 8] = [
    (
        "Engine.IO: message, polling: a payload containing plain text and binary packets",
        "sockd sends nothing binary",
    ),
    (
        "Engine.IO: message, websocket: sends and receives a binary packet",
        "sockd sends nothing binary",
    ),
    (
        "Socket.IO: connect: to a custom namespace",
        "there is only the main namespace",
    ),
    (
        "Socket.IO: connect: to a custom namespace with a payload",
        "there is only the main namespace",
    ),
    (
        "Socket.IO: disconnect: from a custom namespace",
        "there is only the main namespace",
    ),
    (
        "Socket.IO: message: binary attachments",
        "sockd sends nothing binary",
    ),
    (
        "Socket.IO: message: a plain-text packet with an ack",
        "events of clients are not acknowledged",
    ),
    (
        "Socket.IO: message: binary attachments and an ack",
        "events of clients are not acknowledged",
    ),
];

/// Declares the cases of a suite: the title of each there, and the function that runs it here,
/// which becomes a test of the same name.
macro_rules! cases {
    ($($title:literal => $case:ident,)+) => {
        pub const CASES: &[&str] = &[$($title),+];

        mod case {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case().await;
                }
            )+
        }
    };
}
use cases;

#[test]
fn each_official_case_has_a_test_or_a_reason_why_it_has_none() {
    let told = [engine_io::CASES, socket_io::CASES, &socket_io::REPEATED].concat();
    let all: Vec<_> = told
        .into_iter()
        .chain(NOT_APPLICABLE.map(|(title, _)| title))
        .collect();
    let of = |suite: &str| all.iter().filter(|title| title.starts_with(suite)).count();
    // As many as the suites had in 2026.
    assert_eq!((of("Engine.IO: "), of("Socket.IO: ")), (25, 32));
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}
