//! HTTP long-polling: packets go out with polls and come in with POSTs.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, header};
use tokio::{
    task::consume_budget,
    time::{Instant, timeout_at},
};

use super::{
    connection::{Connection, Ending},
    engine::TransportKind,
    packet::{self, SEPARATOR},
};
use crate::stream::body::{ReadError, asks_first, discard, read_to_end};

/// The outcome of a POST.
pub(super) enum PostOutcome {
    Taken,
    /// The connection has ended.
    Refused,
    TooLong,
    TooSlow,
}

/// Waits for packets; `None` if another poll is pending.
pub(super) async fn poll(connection: &Arc<Connection>) -> Option<Bytes> {
    let pending = connection.begin_poll()?;
    Some(pending.await)
}

/// Reads what the client posts.
pub(super) async fn post(
    connection: &Connection,
    request: Request<Body>,
    within: Duration,
) -> PostOutcome {
    let Some(_posting) = connection.begin_post() else {
        return PostOutcome::Refused;
    };
    // This version of the protocol sends bytes as text.
    let content_type = request.headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|content_type| content_type == "application/octet-stream") {
        connection.end(Ending::Unreadable);
        return PostOutcome::Refused;
    }
    let asks_first = asks_first(request.headers());
    let mut body = request.into_body();
    let limit = connection.engine().socketio.max_payload;
    let deadline = Instant::now() + within;
    let body = match read_to_end(&mut body, limit, deadline).await {
        Ok(body) => body,
        Err(ReadError::TooLong) => {
            // As in Node, the session goes on, and so does the client's HTTP connection.
            connection.charge(limit);
            if !asks_first {
                timeout_at(deadline, discard_rest(connection, body))
                    .await
                    .ok();
            }
            return PostOutcome::TooLong;
        }
        Err(ReadError::Broken) => return PostOutcome::Refused,
        Err(ReadError::TooSlow) => return PostOutcome::TooSlow,
    };
    let meters = connection.engine().meters.of(TransportKind::Polling);
    meters.received.inc_by(body.len() as u64);
    connection.charge(body.len());
    // As in Node, a byte that is not UTF-8 becomes U+FFFD.
    let text = String::from_utf8_lossy(&body);
    for packet in text.split(char::from(SEPARATOR)) {
        if !connection.receive(packet::read(packet)) {
            break;
        }
        // A POST can hold 500,000 packets, and other tasks need the thread.
        consume_budget().await;
    }
    if connection.is_ended_by_us() {
        PostOutcome::Refused
    } else {
        PostOutcome::Taken
    }
}

/// Reads the rest of a body that is too long, as far as the client's budget allows: a connection that
/// is closed with unread bytes is reset, and the client may not see the response.
async fn discard_rest(connection: &Connection, body: Body) {
    discard(body, |length| {
        connection.charge(length);
        connection.is_open()
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::{
        gateway::{
            connection::tests::entering,
            tests::{engine, permit},
        },
        hub::{Farewell, Outlet},
    };

    /// How many pieces of a long body are read and dropped.
    async fn discarded(connection: &Connection) -> usize {
        let read = Arc::new(AtomicUsize::new(0));
        let count = read.clone();
        let pieces = stream::iter(0..100).map(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(Bytes::from_static(&[0; 100]))
        });
        discard_rest(connection, Body::from_stream(pieces)).await;
        read.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn the_rest_of_a_long_body_is_read_only_while_the_connection_is_open() {
        let engine = engine();
        let open = || Connection::open_polling(permit(&engine), None);
        let connection = open();
        assert_eq!(discarded(&connection).await, 100);
        for ending in [Ending::Draining, Ending::Unreadable] {
            let connection = open();
            connection.end(ending);
            assert_eq!(discarded(&connection).await, 0, "{ending:?}");
        }
        // Its farewell waits for a poll.
        let connection = entering(&engine);
        assert!(connection.dismiss(&Farewell::TokenExpired));
        assert_eq!(discarded(&connection).await, 0);
    }
}
