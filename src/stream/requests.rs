//! The requests on one connection: which is under way, and what the end of its input means for it.

use std::{
    io::IoSlice,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::{ClientAddress, Refusal};

/// The requests of one connection, one at a time.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    header_timeout: Duration,
    keep_alive: Duration,
    peer: Option<ClientAddress>,
    /// Why the connection was closed before its first request.
    refused: Option<Refusal>,
    is_under_way: bool,
    /// Whether the current request, or else the last one, outlives the end of input.
    outlives_end: bool,
    /// Whether a response was a stream, which ends with the drain; it is then the last one.
    is_stream: bool,
    /// The response to an upgrade, held back to go out with what follows it.
    held: Option<Vec<u8>>,
    /// Whether the input has ended and hyper does not know.
    has_ended: bool,
    /// Whether the input ended in the middle of the current request's body.
    is_truncated: bool,
    has_head_begun: bool,
    /// When a peer that is silent, or slow with its head, is disconnected.
    deadline: Instant,
    /// Wakes the task that reads from the stream.
    reader: Option<Waker>,
    /// Wakes the task that reads the current request's body.
    body: Option<Waker>,
}

/// A request, from the end of its head until its response is ready, or has ended if it is a stream.
#[derive(Debug)]
pub struct UnderWay(Requests);

/// The body of a response that is a stream: its request is under way until it ends.
#[derive(Debug)]
pub struct ResponseStream<B> {
    body: B,
    _under_way: UnderWay,
}

/// The body of a request, which notices that the input has ended in the middle of it.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    requests: Requests,
}

impl Requests {
    /// The first head has to be complete by the deadline.
    pub(super) fn new(
        peer: Option<ClientAddress>,
        header_timeout: Duration,
        keep_alive: Duration,
        deadline: Instant,
    ) -> Self {
        Self(Arc::new(Mutex::new(State {
            header_timeout,
            keep_alive,
            peer,
            refused: None,
            is_under_way: false,
            outlives_end: false,
            is_stream: false,
            held: None,
            has_ended: false,
            is_truncated: false,
            has_head_begun: false,
            deadline,
            reader: None,
            body: None,
        })))
    }

    pub(super) fn set_peer(&self, peer: ClientAddress) {
        self.lock().peer = Some(peer);
    }

    pub(super) fn refuse(&self, why: Refusal) {
        self.lock().refused = Some(why);
    }

    /// Where the connection comes from, according to the PROXY protocol or else the socket.
    pub fn peer(&self) -> Option<ClientAddress> {
        self.lock().peer
    }

    /// Why the connection was closed before its first request, if the PROXY protocol or TLS was
    /// the reason.
    pub fn refused(&self) -> Option<Refusal> {
        self.lock().refused
    }

    /// Notes a request whose head has been read. If it outlives the end of input, it is answered even if its
    /// caller half-closes the connection; otherwise it is dropped then.
    pub fn begin(&self, outlives_end: bool) -> UnderWay {
        let mut state = self.lock();
        state.is_under_way = true;
        state.outlives_end = outlives_end;
        state.is_truncated = false;
        state.body = None;
        UnderWay(self.clone())
    }

    pub fn body(&self, body: Incoming) -> RequestBody {
        RequestBody {
            body,
            requests: self.clone(),
        }
    }

    /// Whether the current request, or else the last one, outlives the end of input.
    pub(super) fn outlives_end(&self) -> bool {
        self.lock().outlives_end
    }

    /// Whether a response was a stream.
    pub fn is_stream(&self) -> bool {
        self.lock().is_stream
    }

    /// Begins to wait for the next head.
    pub(super) fn wait_for_next(&self) {
        let mut state = self.lock();
        state.has_head_begun = false;
        state.deadline = Instant::now() + state.keep_alive;
    }

    /// Keeps what is about to be written, if the response is held back. Returns whether it is.
    pub(super) fn hold(&self, slices: &[IoSlice<'_>]) -> bool {
        let mut state = self.lock();
        let Some(held) = &mut state.held else {
            return false;
        };
        slices
            .iter()
            .for_each(|slice| held.extend_from_slice(slice));
        true
    }

    /// What was held back.
    pub(super) fn take_held(&self) -> Vec<u8> {
        self.lock().held.take().unwrap_or_default()
    }

    pub(super) fn note_bytes(&self) {
        let mut state = self.lock();
        if !state.is_under_way && !state.has_head_begun {
            state.has_head_begun = true;
            state.deadline = Instant::now() + state.header_timeout;
        }
    }

    /// Called at the end of input: whether to hide it from hyper for now.
    pub(super) fn hide_end(&self, is_blocked: bool, reader: &Waker) -> bool {
        let mut state = self.lock();
        let is_wanted = state.is_under_way || is_blocked;
        if !is_wanted || !state.outlives_end || state.is_truncated {
            return false;
        }
        state.has_ended = true;
        state.reader = Some(reader.clone());
        let body = state.body.take();
        drop(state);
        // The body's reader finds out whether it is complete.
        body.into_iter().for_each(Waker::wake);
        true
    }

    /// When a silent peer is disconnected; `None` while it waits for a response.
    pub(super) fn deadline(&self, reader: &Waker) -> Option<Instant> {
        let mut state = self.lock();
        match &mut state.reader {
            Some(known) => known.clone_from(reader),
            none => *none = Some(reader.clone()),
        }
        (!state.is_under_way).then_some(state.deadline)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No operation leaves the state half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// Holds the response back until [`Stream::into_parts`](super::Stream::into_parts): it upgrades the
    /// connection, and can then be written together with what follows.
    pub fn hold_answer(&self) {
        self.0.lock().held = Some(Vec::new());
    }

    /// Keeps the request under way while the response is streamed. A stream may never end, so it does not
    /// outlive the caller's input.
    pub fn stream<B>(self, body: B) -> ResponseStream<B> {
        let mut state = self.0.lock();
        state.outlives_end = false;
        state.is_stream = true;
        let reader = state.reader.take();
        drop(state);
        // The end of input may have been hidden.
        reader.into_iter().for_each(Waker::wake);
        ResponseStream {
            body,
            _under_way: self,
        }
    }
}

impl<B: Body + Unpin> Body for ResponseStream<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.wait_for_next();
        let mut state = self.0.lock();
        state.is_under_way = false;
        let reader = state.reader.take();
        drop(state);
        // There is a deadline now, and perhaps a hidden end of input.
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let is_under_way = self.requests.lock().is_under_way;
        if !is_under_way {
            // The bytes since the response were the rest of this body, not a head.
            self.requests.wait_for_next();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Read before the body is polled, because hyper passes on earlier bytes before it sees the end.
        let has_ended = {
            let mut state = self.requests.lock();
            state.body = Some(context.waker().clone());
            state.has_ended
        };
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_pending() && has_ended {
            let mut state = self.requests.lock();
            state.is_truncated = true;
            let reader = state.reader.take();
            drop(state);
            reader.into_iter().for_each(Waker::wake);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
