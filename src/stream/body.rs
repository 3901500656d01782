//! Bodies of requests: read as a whole, or read on and dropped.
//!
//! Many callers look for the answer only after they have sent everything. A connection that is closed
//! under them tells them of a broken pipe, and not why they were refused. So the rest of a body is read
//! when it was answered before all of it was.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};

use super::RequestBody;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    TooLong,
    TooSlow,
    /// The connection has failed, or the body is not valid HTTP.
    Broken,
}

/// Reads a whole body. One that has come in one piece, as most have, is not copied. Pieces are, as each
/// would keep the buffer that it was read into: a body of one-byte chunks would cost many times its
/// length.
///
/// # Errors
/// It is longer than `limit`, or has not ended by the deadline, or its connection has failed.
pub async fn read_to_end<B>(
    body: &mut B,
    limit: usize,
    deadline: Instant,
) -> Result<Bytes, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(ReadError::TooLong);
    }
    let read = async {
        let mut pieces = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| ReadError::Broken)?.into_data() else {
                continue;
            };
            if pieces.len() + piece.len() > limit {
                return Err(ReadError::TooLong);
            }
            if pieces.is_empty() && body.is_end_stream() {
                return Ok(piece);
            }
            pieces.extend_from_slice(&piece);
        }
        Ok(pieces.freeze())
    };
    let read = timeout_at(deadline, read).await;
    read.unwrap_or(Err(ReadError::TooSlow))
}

/// Whether the sender of a body waits to be told to send it: it will not, once it has the answer.
pub fn asks_first(headers: &HeaderMap) -> bool {
    headers.contains_key(header::EXPECT)
}

/// Reads the rest of a body and drops it, for as long as `goes_on`, which is told the length of each
/// piece.
pub async fn discard<B>(mut body: B, mut goes_on: impl FnMut(usize) -> bool)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut length = 0;
    // Once it has been answered, hyper tells the end of a body of known length only with the next
    // request.
    while goes_on(length)
        && !body.is_end_stream()
        && let Some(Ok(frame)) = body.frame().await
    {
        length = frame.data_ref().map_or(0, Bytes::len);
    }
}

/// How much is read on at the most.
const EXCESS: usize = 16 << 20;

/// A body that is read to its end, within bounds, whatever becomes of it.
pub struct Unread {
    /// `None` once it has ended.
    body: Option<RequestBody>,
    /// Until when it is read on; `None` if it is not.
    until: Option<Instant>,
}

/// Reads the body to its end `within` the time, even if the handler drops it.
pub fn read_on(request: Request<RequestBody>, within: Duration) -> Request<Unread> {
    let until = (!asks_first(request.headers())).then(|| Instant::now() + within);
    request.map(|body| Unread {
        body: Some(body),
        until,
    })
}

impl Body for Unread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        let (Some(rest), Some(until)) = (rest, self.until) else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        // The connection's own task waits for it, and the time is short.
        runtime.spawn(timeout_at(until, discard_excess(rest)));
    }
}

async fn discard_excess(body: RequestBody) {
    let mut left = EXCESS;
    discard(body, |length| {
        left = left.saturating_sub(length);
        left > 0
    })
    .await;
}
