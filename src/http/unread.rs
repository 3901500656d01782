//! The rest of a request's body, when it was answered before all of it was read.
//!
//! Many callers look for the answer only after they have sent everything. A connection that is closed
//! under them tells them of a broken pipe, and not why they were refused.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};

use crate::stream::RequestBody;

/// How much is read on at the most.
const EXCESS: usize = 16 << 20;

/// A body that is read to its end, within bounds, whatever becomes of it.
pub(super) struct Unread {
    /// `None` once it has ended.
    body: Option<RequestBody>,
    /// Until when it is read on; `None` if it is not.
    until: Option<Instant>,
}

/// Reads the body to its end `within` the time, even if the handler drops it.
pub(super) fn read_on(request: Request<RequestBody>, within: Duration) -> Request<Unread> {
    // A caller that asks first whether to send a body has not sent it by then.
    let asks_first = request.headers().contains_key(header::EXPECT);
    let until = (!asks_first).then(|| Instant::now() + within);
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
        runtime.spawn(timeout_at(until, discard(rest)));
    }
}

async fn discard(mut body: RequestBody) {
    let mut read = 0;
    // Once it has been answered, hyper tells the end of a body of known length only with the next
    // request.
    while !body.is_end_stream()
        && read < EXCESS
        && let Some(Ok(frame)) = body.frame().await
    {
        read += frame.data_ref().map_or(0, Bytes::len);
    }
}
