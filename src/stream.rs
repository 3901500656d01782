//! The stream under hyper: handles the end of a peer's input, and limits how long a peer is silent.
//!
//! hyper drops a request as soon as its caller half-closes the connection. Its `half_close` option
//! prevents that, but then it no longer notices that a client with a pending poll is gone. So the
//! stream hides the end of input from hyper while a request is under way that outlives it.

mod client_address;
mod proxy_header;
pub mod tcp;
pub mod unix;

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::either::Either;

use self::proxy_header::ProxyHeader;
pub use self::{
    client_address::{ClientAddress, TrustedProxies},
    proxy_header::ProxyHeaderError,
};

/// What a listener accepts.
#[derive(Debug)]
pub struct Accepted {
    pub socket: Socket,
    /// Where it comes from; `None` for a unix socket.
    pub peer: Option<ClientAddress>,
}

pub type Socket = Either<TcpStream, UnixStream>;

/// An accepted connection, until it is upgraded.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    /// What has to come before anything else is read.
    proxy_header: Option<Box<ProxyHeader>>,
    requests: Requests,
    alarm: Pin<Box<Sleep>>,
    /// Whether the peer has to read before more of a response can be written.
    is_blocked: bool,
}

/// The parts of an upgraded stream.
#[derive(Debug)]
pub struct Parts {
    pub tcp: TcpStream,
    /// What the peer has sent behind its request.
    pub read: Bytes,
    /// The answer to the request, still to be written.
    pub answer: Vec<u8>,
}

/// The requests of one connection, one at a time.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    header_timeout: Duration,
    keep_alive: Duration,
    peer: Option<ClientAddress>,
    /// Why the connection was closed before its first request.
    refused: Option<ProxyHeaderError>,
    is_under_way: bool,
    /// Whether the current request, or else the last one, outlives the end of input.
    outlives_end: bool,
    /// The answer to an upgrade, which goes out with what follows it.
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

/// A request, from the end of its head until its response is ready.
#[derive(Debug)]
pub struct UnderWay(Requests);

/// The body of a request, which notices that the input has ended in the middle of it.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    requests: Requests,
}

impl Stream {
    /// A head may take `header_timeout` from its first byte, and the first head as long to begin. A
    /// later one has to begin within `keep_alive` after the answer before it. With `proxy_protocol`, a
    /// header of it has to come first, within the time that the first head has to begin.
    pub fn new(
        accepted: Accepted,
        proxy_protocol: bool,
        header_timeout: Duration,
        keep_alive: Duration,
    ) -> Self {
        let Accepted { socket, peer } = accepted;
        let deadline = Instant::now() + header_timeout;
        let state = State {
            header_timeout,
            keep_alive,
            peer,
            refused: None,
            is_under_way: false,
            outlives_end: false,
            held: None,
            has_ended: false,
            is_truncated: false,
            has_head_begun: false,
            deadline,
            reader: None,
            body: None,
        };
        Self {
            socket,
            proxy_header: proxy_protocol.then(|| Box::new(ProxyHeader::new())),
            requests: Requests(Arc::new(Mutex::new(state))),
            alarm: Box::pin(sleep_until(deadline)),
            is_blocked: false,
        }
    }

    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Takes an upgraded connection apart. `None`: it was not a `Stream`, or not over TCP.
    pub fn into_parts(upgraded: Upgraded) -> Option<Parts> {
        let parts = upgraded.downcast::<TokioIo<Self>>().ok()?;
        let Self {
            socket, requests, ..
        } = parts.io.into_inner();
        let Either::Left(tcp) = socket else {
            return None;
        };
        let answer = requests.lock().held.take();
        Some(Parts {
            tcp,
            read: parts.read_buf,
            answer: answer.unwrap_or_default(),
        })
    }

    /// Resolves when the PROXY protocol's header has come; with `false` if there is none that counts.
    fn poll_proxy_header(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Some(header) = &mut self.proxy_header else {
            return Poll::Ready(true);
        };
        let refusal = match header.poll(&mut self.socket, context) {
            Poll::Pending => {
                ready!(self.poll_deadline(context));
                ProxyHeaderError::Late
            }
            Poll::Ready(Ok(Ok(source))) => {
                if let Some(source) = source {
                    self.requests.lock().peer = Some(source.into());
                }
                self.proxy_header = None;
                return Poll::Ready(true);
            }
            Poll::Ready(Ok(Err(error))) => error,
            Poll::Ready(Err(_)) if header.has_begun() => ProxyHeaderError::Malformed,
            // A balancer that only looks whether the port is open.
            Poll::Ready(Err(_)) => return Poll::Ready(false),
        };
        self.requests.lock().refused = Some(refusal);
        Poll::Ready(false)
    }

    /// Resolves when the peer has been silent, or slow with a head, for too long.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.requests.deadline(context.waker());
        let Some(deadline) = deadline.filter(|_| !self.is_blocked) else {
            return Poll::Pending;
        };
        if self.alarm.deadline() != deadline {
            self.alarm.as_mut().reset(deadline);
        }
        self.alarm.as_mut().poll(context)
    }

    /// Notes the outcome of a write.
    fn written(
        &mut self,
        written: Poll<io::Result<usize>>,
        length: usize,
        context: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let was_blocked = self.is_blocked;
        self.is_blocked = written.is_pending();
        if was_blocked && !self.is_blocked {
            self.requests.wait_for_next();
            // The end of input may have been hidden until now.
            context.waker().wake_by_ref();
        }
        match written {
            // The peer no longer reads responses, but requests that it has sent are still to be read.
            Poll::Ready(Err(error)) if is_gone(&error) => Poll::Ready(Ok(length)),
            written => written,
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.proxy_header.is_some() && !ready!(this.poll_proxy_header(context)) {
            // As if the peer had closed it.
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.socket).poll_read(context, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                if this.requests.keep_end(this.is_blocked, context.waker()) {
                    return Poll::Pending;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => {
                this.requests.note_bytes();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(this.poll_deadline(context));
                tracing::debug!("a connection was silent, or slow with a head, for too long");
                // As if the peer had closed it.
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.requests.hold(&[io::IoSlice::new(bytes)]) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.socket).poll_write(context, bytes);
        this.written(written, bytes.len(), context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = slices.iter().map(|slice| slice.len()).sum();
        if this.requests.hold(slices) {
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut this.socket).poll_write_vectored(context, slices);
        this.written(written, length, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

impl Requests {
    /// Where the connection comes from: what the PROXY protocol says, else the peer.
    pub fn peer(&self) -> Option<ClientAddress> {
        self.lock().peer
    }

    /// Why the connection was closed before its first request, if the PROXY protocol was the reason.
    pub fn refused(&self) -> Option<ProxyHeaderError> {
        self.lock().refused
    }

    /// Notes a request whose head has been read. One that outlives the end of input is answered even
    /// if its caller half-closes the connection; any other is dropped.
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

    /// Begins to wait for the next head.
    fn wait_for_next(&self) {
        let mut state = self.lock();
        state.has_head_begun = false;
        state.deadline = Instant::now() + state.keep_alive;
    }

    /// Keeps what is about to be written, if it is to be held back.
    fn hold(&self, slices: &[io::IoSlice<'_>]) -> bool {
        let mut state = self.lock();
        let Some(held) = &mut state.held else {
            return false;
        };
        slices
            .iter()
            .for_each(|slice| held.extend_from_slice(slice));
        true
    }

    fn note_bytes(&self) {
        let mut state = self.lock();
        if !state.is_under_way && !state.has_head_begun {
            state.has_head_begun = true;
            state.deadline = Instant::now() + state.header_timeout;
        }
    }

    /// Called at the end of input: whether to hide it from hyper for now.
    fn keep_end(&self, is_blocked: bool, reader: &Waker) -> bool {
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

    /// The deadline of a silent peer; none while it waits for a response.
    fn deadline(&self, reader: &Waker) -> Option<Instant> {
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
    /// Holds the answer back until [`Stream::into_parts`]: it upgrades the connection, and whoever
    /// takes that over can write it together with what follows.
    pub fn hold_answer(&self) {
        self.0.lock().held = Some(Vec::new());
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
            // What was read since the response was the rest of this body, not a head.
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
        // Read before the body is polled: hyper passes on what came before it sees the end.
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
