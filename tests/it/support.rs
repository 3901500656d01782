//! What the tests share: servers that they start, and clients on the level of the wire.

pub mod cluster;
pub mod command;
pub mod doctor;
pub mod driver;
pub mod http;
pub mod issuer;
pub mod jwt;
pub mod node;
pub mod polling;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod sentinel;
pub mod sockd;
pub mod websocket;

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout};

/// The deadline for anything that has none of its own, generous enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Awaits the future, or fails the test, naming what did not come.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    timeout(limit, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come within {limit:?}"))
}

/// Polls until the condition holds.
pub async fn eventually<F: Future<Output = bool>>(
    limit: Duration,
    what: &str,
    condition: impl Fn() -> F,
) {
    let deadline = Instant::now() + limit;
    while !condition().await {
        assert!(
            Instant::now() < deadline,
            "{what} did not come true within {limit:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the server's memory is at most a tenth above what it was.
pub async fn is_small_again(sockd: &sockd::Sockd, before_kib: u64) {
    let what = format!("a resident size of {before_kib} KiB");
    eventually(3 * PATIENCE, &what, async || {
        sockd.resident_kib() <= before_kib + before_kib / 10
    })
    .await;
}
