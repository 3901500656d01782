//! Accepts connections until no more work is taken on.

use std::{io, pin::pin, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use super::connection::{self, Shared};
use crate::{config, gateway::Gateway, http::Api, lifecycle::Lifecycle};

/// How long to wait when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How long connections have to be accepted without a failure before that is said.
const CALM: Duration = Duration::from_secs(1);

/// Serves every connection that comes, and those that had come by the time of the end: the request
/// of a caller that has hung up may be in one.
pub(super) async fn run(
    listener: TcpListener,
    config: config::Server,
    gateway: Gateway,
    api: Api,
    lifecycle: Lifecycle,
) {
    let backlog = config.backlog;
    let shared = Shared::new(config, gateway, api, lifecycle.clone());
    let serve = |tcp: TcpStream| {
        lifecycle.spawn_awaited(connection::serve(tcp, shared.clone()));
    };
    let mut shortage = Shortage::default();
    let mut closed = pin!(lifecycle.closed());
    loop {
        let accepted = tokio::select! {
            // Who has come is accepted before anything else is looked at.
            biased;
            accepted = listener.accept() => accepted,
            () = &mut closed => break,
        };
        match accepted {
            Ok((tcp, _)) => {
                shortage.note_success(Instant::now());
                serve(tcp);
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                shortage.note_failure(&error, Instant::now());
                sleep(PAUSE).await;
            }
        }
    }
    // The system is asked itself: the runtime may not know yet of the last ones.
    let Ok(listener) = listener.into_std() else {
        return;
    };
    for _ in 0..backlog {
        let accepted = listener.accept().and_then(|(tcp, _)| {
            tcp.set_nonblocking(true)?;
            TcpStream::from_std(tcp)
        });
        match accepted {
            Ok(tcp) => serve(tcp),
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => return,
        }
    }
}

/// Errors that Linux passes on from the new connection; see accept(2).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::PermissionDenied
    )
}

/// A time in which the system has no room for connections, mostly for lack of file descriptors. It
/// is logged at its beginning and at its end, and not at each of the attempts.
#[derive(Debug, Default)]
struct Shortage {
    last_failure: Option<Instant>,
}

impl Shortage {
    fn note_failure(&mut self, error: &io::Error, now: Instant) {
        if self.last_failure.replace(now).is_none() {
            tracing::warn!(
                %error,
                "cannot accept connections, retrying; new ones wait. Raise the limit of open files: LimitNOFILE= in the unit, or ulimit -n"
            );
        }
    }

    fn note_success(&mut self, now: Instant) {
        // At the limit, each connection that ends makes room for one more.
        let is_over = |last| now.duration_since(last) >= CALM;
        if self.last_failure.is_some_and(is_over) {
            self.last_failure = None;
            tracing::info!("connections are accepted again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_ends_only_once_there_was_none_for_a_while() {
        let error = io::Error::from_raw_os_error(24);
        let start = Instant::now();
        let mut shortage = Shortage::default();
        shortage.note_failure(&error, start);
        shortage.note_success(start + CALM / 2);
        assert!(shortage.last_failure.is_some());
        shortage.note_failure(&error, start + CALM / 2);
        shortage.note_success(start + CALM);
        assert!(shortage.last_failure.is_some());
        shortage.note_success(start + CALM * 2);
        assert!(shortage.last_failure.is_none());
    }
}
