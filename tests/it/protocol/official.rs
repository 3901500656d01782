//! Every case of the official protocol test suites of Engine.IO v4 and Socket.IO v5
//! (`docs/*-protocol/v*-test-suite` in the repository of socket.io), told in our own words.
//!
//! The suites talk to a server that echoes. sockd ignores what clients send, so a case that relies
//! on an echo sends as it does there, and reads what a backend emits.

mod engine_io;
mod socket_io;

use std::{collections::HashSet, panic::AssertUnwindSafe};

use futures_util::FutureExt;

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

/// Cases that sockd is known to fail, and why. The list can only shrink: a case on it that passes
/// fails the run.
const EXPECTED_FAILURES: [(&str, &str); 0] = [];

/// How often a case on the list is tried, since some fail only where a ping is fast enough.
const TRIES: usize = 20;

/// Declares the cases of a suite: the title of each there, and the function that runs it here,
/// which becomes a test of the same name.
macro_rules! cases {
    ($($title:literal => $case:ident,)+) => {
        pub const CASES: &[&str] = &[$($title),+];

        mod case {
            $(
                #[tokio::test]
                async fn $case() {
                    crate::protocol::official::judge($title, super::$case).await;
                }
            )+
        }
    };
}
use cases;

async fn judge<F: Future<Output = ()>>(title: &str, case: impl Fn() -> F) {
    let known = |(expected, _): &&(&str, &str)| *expected == title;
    let Some((_, cause)) = EXPECTED_FAILURES.iter().find(known) else {
        return case().await;
    };
    for _ in 0..TRIES {
        if AssertUnwindSafe(case()).catch_unwind().await.is_err() {
            return;
        }
    }
    panic!("\"{title}\" passes, although {cause}: take it off EXPECTED_FAILURES");
}

#[test]
fn each_official_case_has_a_test_or_a_reason_why_it_has_none() {
    let told = engine_io::CASES.iter().chain(socket_io::CASES).copied();
    let all: Vec<_> = told.chain(NOT_APPLICABLE.map(|(title, _)| title)).collect();
    let of = |suite: &str| all.iter().filter(|title| title.starts_with(suite)).count();
    // As many as the suites had in 2026.
    assert_eq!((of("Engine.IO: "), of("Socket.IO: ")), (25, 32));
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    for (title, _) in EXPECTED_FAILURES {
        assert!(all.contains(&title), "\"{title}\" is no case");
    }
}
