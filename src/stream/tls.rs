//! TLS on a socket, by rustls.
//!
//! rustls owns no buffers here: encrypted bytes are read into a buffer of the thread and decrypted in place, and
//! outgoing records are written at once. Only an incomplete record, and what the socket does not take, is kept.
//! So an idle connection owns the session and nothing else.

#[cfg(test)]
mod fuzz;
mod record;
mod refusal;
mod session;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    fmt,
    io::{self, IoSlice},
    net::Shutdown,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::ServerConfig;
use socket2::SockRef;
use tokio_util::either::Either;

pub use self::refusal::TlsRefusal;
use self::{
    record::{LONGEST_PLAINTEXT, LONGEST_RECORD},
    session::{Seal, Session, failed},
};
use super::Socket;

/// How much is kept of what a peer sends: part of a record, or of a handshake message, which may be as long as
/// the head of a request. Certificate chains are shorter, and a flood of unfinished handshakes costs no more
/// than one of unfinished heads.
const MOST_KEPT: usize = LONGEST_RECORD;
/// How many bytes are read at once.
const READ: usize = 32 << 10;
/// How many bytes a peer may send after the handshake without a byte for the application.
const MOST_IDLE: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MOST_KEPT + READ]);
    static GATHERED: RefCell<Vec<u8>> = RefCell::new(vec![0; LONGEST_PLAINTEXT]);
}

/// A socket that speaks TLS, from its handshake on.
pub struct TlsStream {
    socket: Socket,
    session: Session,
    /// Encrypted bytes that have come and are not decrypted yet: usually part of a record.
    received: Vec<u8>,
    /// Whether they may hold a whole record.
    has_records: bool,
    /// Bytes that have come since the last one for the application.
    idle: usize,
    has_begun: bool,
    is_closed: bool,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").finish_non_exhaustive()
    }
}

impl TlsStream {
    /// A session must have been begun with the configuration before.
    pub(super) fn new(socket: Socket, config: Arc<ServerConfig>) -> Self {
        Self {
            socket,
            session: Session::new(config),
            received: Vec::new(),
            has_records: false,
            idle: 0,
            has_begun: false,
            is_closed: false,
        }
    }

    pub(super) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether any byte has come.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the socket has taken everything that was written.
    pub fn is_flushed(&self) -> bool {
        self.session.unsent.is_empty()
    }

    /// Reads some bytes into a buffer, which must not be empty; 0 once the peer has closed its side. Completes
    /// the handshake first.
    ///
    /// # Errors
    /// `UnexpectedEof`: the peer has hung up without closing its side, so something may be missing.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let opened = &mut self.session.opened;
        if !opened.is_empty() {
            let length = opened.len().min(buffer.len());
            buffer[..length].copy_from_slice(&opened[..length]);
            opened.drain(..length);
            if opened.is_empty() {
                *opened = Vec::new();
            }
            return Poll::Ready(Ok(length));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                if self.session.has_ended {
                    return Poll::Ready(Ok(0));
                }
                let mut filled = self.received.len();
                scratch[..filled].copy_from_slice(&self.received);
                if !self.has_records {
                    let space = &mut scratch[filled..][..READ];
                    let read = ready!(poll_socket(&self.socket, context, space))?;
                    if read == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    filled += read;
                    self.idle += read;
                    self.has_begun = true;
                }
                let stepped = self
                    .session
                    .step(&mut scratch[..filled], buffer, Seal::Nothing);
                let (used, length) = stepped.inspect_err(|_| self.send_alert())?;
                self.has_records = length == buffer.len() && used < filled;
                self.received = scratch[used..filled].to_vec();
                // Handshake messages must go out first. After the handshake, what the socket does not take is
                // written later; and if the peer is gone, what it sent before still counts.
                let flushed = self.poll_flush(context);
                if self.is_handshaking() {
                    ready!(flushed)?;
                }
                if length > 0 {
                    self.idle = 0;
                    return Poll::Ready(Ok(length));
                }
                let is_flooding = self.idle > MOST_IDLE && !self.is_handshaking();
                if is_flooding || self.received.len() > MOST_KEPT {
                    let error = rustls::Error::General(
                        "too many bytes without application data".to_owned(),
                    );
                    return Poll::Ready(Err(failed(error)));
                }
            }
        })
    }

    /// Resolves when the socket takes bytes.
    pub fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.socket {
            Either::Left(tcp) => tcp.poll_write_ready(context),
            Either::Right(unix) => unix.poll_write_ready(context),
        }
    }

    /// Takes some bytes, once the socket has taken all earlier ones. The socket may not take these at once: see
    /// [`Self::is_flushed`].
    ///
    /// # Errors
    /// `WouldBlock`: nothing was taken.
    pub fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_flush()?;
        if let [slice] = slices {
            let length = slice.len().min(LONGEST_PLAINTEXT);
            self.seal(Seal::Plaintext(&slice[..length]))?;
            return Ok(length);
        }
        GATHERED.with_borrow_mut(|gathered| {
            let mut length = 0;
            for slice in slices {
                let part = slice.len().min(LONGEST_PLAINTEXT - length);
                gathered[length..length + part].copy_from_slice(&slice[..part]);
                length += part;
            }
            self.seal(Seal::Plaintext(&gathered[..length]))?;
            Ok(length)
        })
    }

    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
            ready!(self.poll_write_ready(context))?;
        }
    }

    /// Resolves when the socket has taken everything that was written.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                flushed => return Poll::Ready(flushed),
            }
            ready!(self.poll_write_ready(context))?;
        }
    }

    /// Writes the encrypted bytes that the socket has not taken yet.
    ///
    /// # Errors
    /// `WouldBlock`: the socket does not take all of it.
    pub fn try_flush(&mut self) -> io::Result<()> {
        let unsent = &mut self.session.unsent;
        while !unsent.is_empty() {
            let written = try_write_to(&self.socket, unsent)?;
            unsent.drain(..written);
        }
        *unsent = Vec::new();
        Ok(())
    }

    /// Tells the peer that nothing more comes, and shuts down the write half, once everything is written.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        self.close();
        ready!(self.poll_flush(context))?;
        self.finish();
        Poll::Ready(Ok(()))
    }

    /// Does the same at once. If the socket has no room, because the peer does not read, only shuts down the
    /// socket.
    pub fn finish(&mut self) {
        if self.try_flush().is_ok() {
            self.close();
        }
        let socket = match &self.socket {
            Either::Left(tcp) => SockRef::from(tcp),
            Either::Right(unix) => SockRef::from(unix),
        };
        // Fails only if the peer is gone.
        socket.shutdown(Shutdown::Write).ok();
    }

    /// Tells the peer once that nothing more comes. A failed session has sent an alert instead.
    fn close(&mut self) {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.seal(Seal::Close).ok();
        }
    }

    /// Encrypts and writes; keeps what the socket does not take.
    fn seal(&mut self, seal: Seal<'_>) -> io::Result<()> {
        let mut received = std::mem::take(&mut self.received);
        // The session has to process records first, if a read has left any.
        let stepped = self.session.step(&mut received, &mut [], seal);
        if let Ok((used, _)) = stepped {
            received.drain(..used);
        }
        // An idle stream owns no buffer.
        if !received.is_empty() {
            self.received = received;
        }
        stepped.inspect_err(|_| self.send_alert())?;
        match self.try_flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            flushed => flushed,
        }
    }

    /// Sends the alert of a session that has failed, as far as the socket takes it.
    fn send_alert(&mut self) {
        self.try_flush().ok();
    }
}

fn poll_socket(
    socket: &Socket,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        let read = match socket {
            Either::Left(tcp) => {
                ready!(tcp.poll_read_ready(context))?;
                tcp.try_read(buffer)
            }
            Either::Right(unix) => {
                ready!(unix.poll_read_ready(context))?;
                unix.try_read(buffer)
            }
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return Poll::Ready(read),
        }
    }
}

fn try_write_to(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    match socket {
        Either::Left(tcp) => tcp.try_write(bytes),
        Either::Right(unix) => unix.try_write(bytes),
    }
}
