//! The stream under hyper: handles the end of a peer's input, and limits how long a peer may be silent.
//!
//! hyper drops a request as soon as its caller half-closes the connection. Its `half_close` option
//! prevents that, but then it no longer notices that a client with a pending poll is gone. So the
//! stream hides the end of input from hyper while a request is under way that outlives it.
//!
//! `requests` knows the request that is under way; `body` and `header` help to read requests; `proxy_header`
//! and `client_address` find the address of a client; a `channel` is a socket, or `tls` on one; `tcp` and
//! `unix` are sockets to listen on.

pub mod body;
mod channel;
mod client_address;
pub mod header;
mod proxy_header;
mod requests;
pub mod tcp;
mod tls;
pub mod unix;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::either::Either;

use self::proxy_header::ProxyHeader;
pub use self::{
    channel::{Channel, Refusal},
    client_address::{ClientAddress, TrustedProxies},
    proxy_header::ProxyHeaderError,
    requests::{RequestBody, Requests, UnderWay},
    tls::{TlsRefusal, TlsStream},
};

/// What a listener accepts.
#[derive(Debug)]
pub struct Accepted {
    pub socket: Socket,
    /// The address that it comes from; `None` for a unix socket.
    pub peer: Option<ClientAddress>,
}

pub type Socket = Either<TcpStream, UnixStream>;

/// An accepted connection, until it is upgraded.
#[derive(Debug)]
pub struct Stream {
    channel: Channel,
    /// The header that must arrive before anything else is read.
    proxy_header: Option<Box<ProxyHeader>>,
    requests: Requests,
    alarm: Pin<Box<Sleep>>,
    /// Whether the peer has to read before more of a response can be written.
    is_blocked: bool,
}

/// The parts of an upgraded stream.
#[derive(Debug)]
pub struct Parts {
    pub channel: Channel,
    /// What the peer has sent after its request.
    pub read: Bytes,
    /// The answer to the request, still to be written.
    pub answer: Vec<u8>,
}

impl Stream {
    /// A head may take `header_timeout` from its first byte. The first head must begin within `header_timeout` as
    /// well, and a later one within `keep_alive` after the previous response. With `proxy_protocol`, its header
    /// must come first, and with `tls` a handshake after that, both within the time in which the first head must
    /// begin.
    pub fn new(
        accepted: Accepted,
        proxy_protocol: bool,
        tls: Option<Arc<ServerConfig>>,
        header_timeout: Duration,
        keep_alive: Duration,
    ) -> Self {
        let Accepted { socket, peer } = accepted;
        let channel = match tls {
            Some(config) => Channel::Tls(Box::new(TlsStream::new(socket, config))),
            None => Channel::Plain(socket),
        };
        let deadline = Instant::now() + header_timeout;
        Self {
            channel,
            proxy_header: proxy_protocol.then(|| Box::new(ProxyHeader::new())),
            requests: Requests::new(peer, header_timeout, keep_alive, deadline),
            alarm: Box::pin(sleep_until(deadline)),
            is_blocked: false,
        }
    }

    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Takes an upgraded connection apart. `None` if it is not a `Stream`.
    pub fn into_parts(upgraded: Upgraded) -> Option<Parts> {
        let parts = upgraded.downcast::<TokioIo<Self>>().ok()?;
        let Self {
            channel, requests, ..
        } = parts.io.into_inner();
        Some(Parts {
            channel,
            read: parts.read_buf,
            answer: requests.take_held(),
        })
    }

    /// Resolves to whether a valid header of the PROXY protocol has come.
    fn poll_proxy_header(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Some(header) = &mut self.proxy_header else {
            return Poll::Ready(true);
        };
        let refusal = match header.poll(self.channel.socket(), context) {
            Poll::Pending => {
                ready!(self.poll_deadline(context));
                ProxyHeaderError::Late
            }
            Poll::Ready(Ok(Ok(source))) => {
                if let Some(source) = source {
                    self.requests.set_peer(source.into());
                }
                self.proxy_header = None;
                return Poll::Ready(true);
            }
            Poll::Ready(Ok(Err(error))) => error,
            Poll::Ready(Err(_)) if header.has_begun() => ProxyHeaderError::Malformed,
            // A load balancer that only checks whether the port is open.
            Poll::Ready(Err(_)) => return Poll::Ready(false),
        };
        self.requests.refuse(Refusal::ProxyHeader(refusal));
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
            Poll::Ready(Err(error)) if is_gone(&error) && self.requests.outlives_end() => {
                Poll::Ready(Ok(length))
            }
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
        let read = match this.channel.poll_read(context, buffer) {
            // Many TLS clients just hang up, and HTTP itself shows what is complete (RFC 9112, 9.8).
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(()))
            }
            read => read,
        };
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                if this.channel.is_in_handshake() {
                    this.requests.refuse(Refusal::Tls(TlsRefusal::Closed));
                }
                if this.requests.hide_end(this.is_blocked, context.waker()) {
                    return Poll::Pending;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => {
                this.requests.note_bytes();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                let refusal = TlsRefusal::of(&error);
                if refusal.is_some() {
                    tracing::debug!(%error, "a TLS connection failed");
                }
                if this.channel.is_in_handshake() {
                    let refusal = refusal.unwrap_or(TlsRefusal::Closed);
                    this.requests.refuse(Refusal::Tls(refusal));
                }
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                ready!(this.poll_deadline(context));
                if this.channel.is_handshaking() {
                    this.requests.refuse(Refusal::Tls(TlsRefusal::Late));
                }
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
        let written = this.channel.poll_write(context, &[io::IoSlice::new(bytes)]);
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
        let written = this.channel.poll_write(context, slices);
        this.written(written, length, context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().channel.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().channel.poll_shutdown(context)
    }
}
