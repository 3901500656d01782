//! The channel of a connection: a socket, or TLS on one.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ProxyHeaderError, Socket, TlsRefusal, TlsStream};

#[derive(Debug)]
pub enum Channel {
    Plain(Socket),
    Tls(Box<TlsStream>),
}

/// Why a connection was closed before its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    ProxyHeader(ProxyHeaderError),
    Tls(TlsRefusal),
}

impl Channel {
    pub(super) fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.socket(),
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.is_handshaking())
    }

    /// Whether a handshake has begun and not ended.
    pub(super) fn is_in_handshake(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.is_handshaking() && tls.has_begun())
    }

    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(tls) => {
                let length = ready!(tls.poll_read(context, buffer.initialize_unfilled()))?;
                buffer.advance(length);
                Poll::Ready(Ok(()))
            }
        }
    }

    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (self, slices) {
            (Self::Plain(socket), [slice]) => Pin::new(socket).poll_write(context, slice),
            (Self::Plain(socket), slices) => Pin::new(socket).poll_write_vectored(context, slices),
            (Self::Tls(tls), slices) => tls.poll_write(context, slices),
        }
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(tls) => tls.poll_flush(context),
        }
    }

    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(tls) => tls.poll_shutdown(context),
        }
    }
}
