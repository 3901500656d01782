//! The stream under a WebSocket.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    task::{Context, Poll, ready},
};

use hyper::upgrade::Upgraded;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::either::Either;

use crate::{
    metrics::WEBSOCKET_SENT,
    stream::{Channel, Stream, TlsStream},
};

pub(super) enum RawStream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

/// A stream that is to become a WebSocket.
pub(super) struct Handover {
    pub(super) stream: RawStream,
    /// What the client has sent right behind its request; a copy, because the original pins the buffer
    /// that the request was read into.
    pub(super) early: Vec<u8>,
    /// The response to the request, which has to be written first.
    pub(super) response: Vec<u8>,
}

impl RawStream {
    /// Takes over the stream that was accepted.
    pub(super) fn of(upgraded: Upgraded) -> Option<Handover> {
        let parts = Stream::into_parts(upgraded)?;
        let stream = match parts.channel {
            Channel::Plain(Either::Left(tcp)) => Self::Tcp(tcp),
            // Clients are not served on unix sockets.
            Channel::Plain(Either::Right(_)) => return None,
            Channel::Tls(tls) => Self::Tls(tls),
        };
        Some(Handover {
            stream,
            early: parts.read.to_vec(),
            response: parts.answer,
        })
    }

    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => return stream.poll_read(context, buffer),
        };
        loop {
            ready!(stream.poll_read_ready(context))?;
            match stream.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    pub(super) fn poll_write_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(context),
            Self::Tls(stream) => stream.poll_write_ready(context),
        }
    }

    /// Whether the system has taken all that was written: TLS may hold back a record.
    pub(super) fn is_flushed(&self) -> bool {
        match self {
            Self::Tcp(_) => true,
            Self::Tls(stream) => stream.is_flushed(),
        }
    }

    /// Writes what was held back.
    pub(super) fn try_flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) => Ok(()),
            Self::Tls(stream) => stream.try_flush(),
        }
    }

    pub(super) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // The stream never waits, so no signal interrupts a write.
        let written = match (self, slices) {
            (Self::Tcp(stream), [slice]) => stream.try_write(slice),
            (Self::Tcp(stream), slices) => stream.try_write_vectored(slices),
            (Self::Tls(stream), slices) => stream.try_write(slices),
        };
        written.inspect(|bytes| WEBSOCKET_SENT.inc_by(*bytes as u64))
    }

    /// Shuts down the write half.
    pub(super) fn finish(&mut self) {
        match self {
            // It fails only if the client is gone.
            Self::Tcp(stream) => drop(SockRef::from(&*stream).shutdown(Shutdown::Write)),
            Self::Tls(stream) => stream.finish(),
        }
    }
}
