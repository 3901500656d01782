//! Request bodies: read as a whole, or read to the end and dropped.
//!
//! Many callers read the response only after they have sent everything. If the connection is closed meanwhile,
//! they see a broken pipe, and not why they were refused. So if a response is sent before the body has been
//! read, the rest of the body is still read.

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

/// Reads a whole body. A body in one piece, the usual case, is not copied. Several pieces are, because each
/// would keep the buffer that it was read into: a body of one-byte chunks would cost many times its length.
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

/// Whether the sender waits for `100 Continue` before it sends the body. If it gets the response instead, it
/// sends no body.
pub fn asks_first(headers: &HeaderMap) -> bool {
    headers.contains_key(header::EXPECT)
}

/// Reads the rest of a body and drops it, as long as `goes_on`, which gets the length of each piece.
pub async fn discard<B>(mut body: B, mut goes_on: impl FnMut(usize) -> bool)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut length = 0;
    // After the response, hyper reports the end of a body of known length only with the next request.
    while goes_on(length)
        && !body.is_end_stream()
        && let Some(Ok(frame)) = body.frame().await
    {
        length = frame.data_ref().map_or(0, Bytes::len);
    }
}

/// The most bytes that are read after the handler has dropped the body.
const EXCESS: usize = 16 << 20;

/// A body that is read to its end, within limits, even if it is dropped.
pub struct Unread {
    /// `None` once it has ended.
    body: Option<RequestBody>,
    /// The deadline for reading the rest; `None` if the rest is not read.
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
        // Not tracked: the connection's task waits for the body, and the time is short.
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
