//! The stream under a WebSocket.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    task::{Context, Poll, ready},
};

use hyper::upgrade::Upgraded;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::{metrics::WEBSOCKET_SENT, stream::Stream};

pub(super) enum RawStream {
    Tcp(TcpStream),
}

/// A stream that is to become a WebSocket.
pub(super) struct Handover {
    pub(super) stream: RawStream,
    /// What the client has sent right behind its request; a copy, as the original pins the buffer that
    /// the request was read into.
    pub(super) early: Vec<u8>,
    /// The answer to the request, which has to be written first.
    pub(super) answer: Vec<u8>,
}

impl RawStream {
    /// Takes over the stream that was accepted.
    pub(super) fn of(upgraded: Upgraded) -> Option<Handover> {
        let parts = Stream::into_parts(upgraded)?;
        Some(Handover {
            stream: Self::Tcp(parts.tcp),
            early: parts.read.to_vec(),
            answer: parts.answer,
        })
    }

    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self::Tcp(stream) = self;
        loop {
            ready!(stream.poll_read_ready(context))?;
            match stream.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    pub(super) fn poll_write_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self::Tcp(stream) = self;
        stream.poll_write_ready(context)
    }

    pub(super) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Self::Tcp(stream) = self;
        // The stream never waits, so no signal interrupts a write.
        let written = match slices {
            [slice] => stream.try_write(slice),
            slices => stream.try_write_vectored(slices),
        };
        written.inspect(|bytes| WEBSOCKET_SENT.inc_by(*bytes as u64))
    }

    /// Shuts the write half down.
    pub(super) fn finish(&mut self) {
        let Self::Tcp(stream) = self;
        // It fails only if the client is gone.
        SockRef::from(&*stream).shutdown(Shutdown::Write).ok();
    }
}
