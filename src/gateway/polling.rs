//! HTTP long-polling: packets go out with polls and come in with POSTs.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body_util::BodyExt;
use tokio::{
    task::consume_budget,
    time::{Instant, timeout_at},
};

use super::{
    connection::{Connection, Ending},
    packet::{self, SEPARATOR},
};

/// The outcome of a POST.
pub(super) enum Posted {
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
) -> Posted {
    let Some(_posting) = connection.begin_post() else {
        return Posted::Refused;
    };
    // This version of the protocol sends bytes as text.
    let content_type = request.headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|content_type| content_type == "application/octet-stream") {
        connection.end(Ending::Unreadable);
        return Posted::Refused;
    }
    // A client that asks first whether to send a body has not sent it by then.
    let asks_first = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    let limit = connection.engine().socketio.max_payload;
    let deadline = Instant::now() + within;
    let body = match timeout_at(deadline, read_to_end(&mut body, limit)).await {
        Ok(Ok(body)) => body,
        Ok(Err(Unread::TooLong)) => {
            // As in Node, the session goes on, and so does the client's HTTP connection.
            connection.charge(limit);
            if !asks_first {
                timeout_at(deadline, discard(connection, body)).await.ok();
            }
            return Posted::TooLong;
        }
        Ok(Err(Unread::Broken)) => return Posted::Refused,
        Err(_) => return Posted::TooSlow,
    };
    let received = &connection.engine().meters.polling.received;
    received.inc_by(body.len() as u64);
    connection.charge(body.len());
    // As Node reads it: a byte that is no UTF-8 becomes U+FFFD.
    let text = String::from_utf8_lossy(&body);
    for packet in text.split(char::from(SEPARATOR)) {
        if !connection.receive(packet::read(packet)) {
            break;
        }
        // A POST can hold 500,000 packets, and other tasks need the thread.
        consume_budget().await;
    }
    if connection.is_ended_by_us() {
        Posted::Refused
    } else {
        Posted::Taken
    }
}

/// Why a body could not be read.
enum Unread {
    TooLong,
    Broken,
}

/// The whole body, copied: its pieces would each keep the buffer that they were read into, which
/// makes a body of one-byte chunks cost many times its length.
async fn read_to_end(body: &mut Body, limit: usize) -> Result<BytesMut, Unread> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLong);
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(Unread::TooLong);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// Reads the rest of a body that is too long, as far as the client's budget allows: a connection that
/// is closed with unread bytes is reset, and the client may not see the response.
async fn discard(connection: &Connection, mut body: Body) {
    while connection.is_open()
        && let Some(Ok(frame)) = body.frame().await
    {
        connection.charge(frame.data_ref().map_or(0, Bytes::len));
    }
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
            tests::{engine, place},
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
        discard(connection, Body::from_stream(pieces)).await;
        read.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn the_rest_of_a_long_body_is_read_only_while_the_connection_is_open() {
        let engine = engine();
        let open = || Connection::open_polling(place(&engine), None);
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
