//! The stream under a WebSocket, with a kill switch, a write-stall timeout and a byte budget.
//!
//! The framework waits for a client that does not read for as long as the client likes, and reads
//! whatever a client sends. What one client may cost is decided here, below it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, Sleep, sleep, timeout},
};

use super::{
    connection::{Connection, Ending},
    frames::{Fault, FrameScanner},
};

/// A close frame with status 1009, "message too big" (RFC 6455, 7.4.1).
const CLOSE_TOO_BIG: [u8; 4] = [0x88, 0x02, 0x03, 0xf1];
/// What is still read from a client that was told to stop, lest a reset outrun what it was told.
const LINGER_BYTES: u64 = 4 << 20;
const LINGER_LIMIT: Duration = Duration::from_secs(2);

/// What one WebSocket may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    pub(super) max_message: u64,
    pub(super) write_stall: Duration,
    pub(super) inbound_burst: usize,
    /// Bytes a second.
    pub(super) inbound_rate: usize,
}

/// A stream that ends when its [`Connection`] does, and that ends it when it costs too much.
pub(super) struct Guard<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    /// `None` only while it is dropped.
    stream: Option<S>,
    /// What the client sent right behind its upgrade request.
    early: Bytes,
    connection: Arc<Connection>,
    write_stall: Duration,
    stall: Option<Pin<Box<Sleep>>>,
    budget: Budget,
    frames: FrameScanner,
    /// The last write was cut short: the next bytes continue a frame.
    in_frame: bool,
    /// The client was told to go: nothing may follow.
    told: bool,
    /// The framework never had it, and has nothing to lose with it.
    abandoned: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Guard<S> {
    pub(super) fn new(
        stream: S,
        early: &[u8],
        connection: Arc<Connection>,
        allowance: Allowance,
    ) -> Self {
        Self {
            stream: Some(stream),
            // A copy: the original pins the 8 KiB that the request was read into.
            early: Bytes::copy_from_slice(early),
            connection,
            write_stall: allowance.write_stall,
            stall: None,
            budget: Budget::new(allowance.inbound_burst, allowance.inbound_rate),
            frames: FrameScanner::new(allowance.max_message),
            in_frame: false,
            told: false,
            abandoned: false,
        }
    }

    /// Waits for the probe with which a client begins to move here from polling; `false` if
    /// something else comes. The probe is then read once more by whoever reads next.
    ///
    /// Not cancel-safe: what has been read is lost, and so is the stream's use.
    pub(super) async fn probe(&mut self) -> bool {
        let mut frame = [0; PROBE_FRAME];
        if self.read_exact(&mut frame).await.is_err() || !is_probe(&frame) {
            return false;
        }
        self.early = [&frame[..], &self.early].concat().into();
        true
    }

    /// Lets go of the stream of an upgrade that came to nothing.
    pub(super) fn abandon(mut self) {
        self.abandoned = true;
    }

    /// Looks at bytes from the client; `false` if they were the last that it may send.
    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> bool {
        match self.frames.scan(bytes) {
            Ok(()) => {}
            Err(Fault::TooLong) => {
                if let Some(stream) = &mut self.stream
                    && !self.in_frame
                {
                    // Best effort: a client that has not read what came before will not read this.
                    self.told = Pin::new(stream)
                        .poll_write(context, &CLOSE_TOO_BIG)
                        .is_ready();
                }
                self.connection.end(Ending::MessageTooLong);
                return false;
            }
            Err(Fault::Unreadable) => {
                self.connection.end(Ending::Unreadable);
                return false;
            }
        }
        if !self.budget.spend(bytes.len(), Instant::now()) {
            self.connection.end(Ending::Flooding);
            return false;
        }
        true
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = &mut *self;
        guard.connection.wake_reader_at_end(context);
        if guard.connection.is_ended() {
            return Poll::Ready(Ok(()));
        }
        let filled = buffer.filled().len();
        if guard.early.is_empty() {
            let Some(stream) = &mut guard.stream else {
                return Poll::Ready(Ok(()));
            };
            std::task::ready!(Pin::new(stream).poll_read(context, buffer))?;
        } else {
            let count = guard.early.len().min(buffer.remaining());
            buffer.put_slice(&guard.early[..count]);
            guard.early.advance(count);
            if guard.early.is_empty() {
                guard.early = Bytes::new();
            }
        }
        if !guard.inspect(&buffer.filled()[filled..], context) {
            buffer.set_filled(filled);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let guard = &mut *self;
        let Some(stream) = &mut guard.stream else {
            return Poll::Ready(Err(gone()));
        };
        if guard.told {
            return Poll::Ready(Ok(bytes.len()));
        }
        guard.connection.wake_writer_at_end(context);
        match Pin::new(stream).poll_write(context, bytes) {
            Poll::Ready(written) => {
                guard.stall = None;
                if let Ok(written) = written {
                    guard.in_frame = written < bytes.len();
                    guard.connection.dequeue(written);
                }
                Poll::Ready(written)
            }
            // A connection that has ended may still say so, but not wait for it to be read.
            Poll::Pending if guard.connection.is_ended() => Poll::Ready(Err(gone())),
            Poll::Pending => {
                guard.in_frame = true;
                let limit = guard.write_stall;
                let stall = guard.stall.get_or_insert_with(|| Box::pin(sleep(limit)));
                std::task::ready!(stall.as_mut().poll(context));
                guard.connection.end(Ending::WriteStalled);
                Poll::Ready(Err(gone()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(gone()));
        };
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(gone()));
        };
        Pin::new(stream).poll_shutdown(context)
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Drop for Guard<S> {
    fn drop(&mut self) {
        // Before the stream is closed, so that the client may try again at once.
        if self.abandoned {
            self.connection.abandon_upgrade();
        } else {
            self.connection.stream_gone();
        }
        let Some(stream) = self.stream.take().filter(|_| self.told) else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(linger(stream));
        }
    }
}

/// Closes our side and reads on for a moment: a socket closed with bytes unread sends a reset,
/// which would take the close frame away from the client.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    stream.shutdown().await.ok();
    let mut rest = stream.take(LINGER_BYTES);
    timeout(
        LINGER_LIMIT,
        tokio::io::copy(&mut rest, &mut tokio::io::sink()),
    )
    .await
    .ok();
}

/// The head, mask and payload of a client's frame with the text `2probe`.
const PROBE_FRAME: usize = 2 + 4 + PROBE.len();
const PROBE: &[u8] = b"2probe";

fn is_probe(frame: &[u8; PROBE_FRAME]) -> bool {
    let (head, masked) = frame.split_at(2);
    let (mask, payload) = masked.split_at(4);
    let unmasked = payload.iter().zip(mask.iter().cycle());
    head == [0x81, 0x80 | PROBE.len() as u8]
        && unmasked
            .map(|(byte, mask)| byte ^ mask)
            .eq(PROBE.iter().copied())
}

/// A token bucket of bytes.
#[derive(Debug)]
struct Budget {
    burst: f64,
    rate: f64,
    left: f64,
    at: Instant,
}

impl Budget {
    fn new(burst: usize, rate: usize) -> Self {
        Self {
            burst: burst as f64,
            rate: rate as f64,
            left: burst as f64,
            at: Instant::now(),
        }
    }

    fn spend(&mut self, bytes: usize, now: Instant) -> bool {
        let earned = now.duration_since(self.at).as_secs_f64() * self.rate;
        self.at = now;
        self.left = (self.left + earned).min(self.burst) - bytes as f64;
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::connection::{Connections, Credentials, Transport};

    fn allowance() -> Allowance {
        Allowance {
            max_message: 1_000,
            write_stall: Duration::from_secs(15),
            inbound_burst: 2_000,
            inbound_rate: 1,
        }
    }

    fn guarded(
        early: &'static [u8],
    ) -> (
        Guard<tokio::io::DuplexStream>,
        tokio::io::DuplexStream,
        Arc<Connection>,
        Arc<Connections>,
    ) {
        let (server, client) = tokio::io::duplex(64);
        let connections = Connections::new();
        let connection = connections.open(Transport::WebSocket, Credentials::default());
        let guard = Guard::new(server, early, connection.clone(), allowance());
        (guard, client, connection, connections)
    }

    #[tokio::test]
    async fn what_came_with_the_upgrade_request_is_read_first() {
        let (mut guard, mut client, _connection, _all) = guarded(&[0x81, 0x80]);
        client.write_all(&[0, 0, 0, 0]).await.unwrap();
        let mut bytes = [0; 6];
        guard.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, [0x81, 0x80, 0, 0, 0, 0]);
    }

    #[tokio::test]
    async fn a_probe_is_seen_and_still_read_by_the_framework() {
        let probe = [
            0x81, 0x86, 1, 2, 3, 4, 0x33, 0x72, 0x71, 0x6b, 0x63, 0x67, 0x81,
        ];
        let (mut guard, mut client, _connection, _all) = guarded(&[0x81]);
        client.write_all(&probe[1..]).await.unwrap();
        assert!(guard.probe().await);
        let mut bytes = [0; 13];
        guard.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, probe);

        let (mut guard, mut client, _connection, _all) = guarded(&[]);
        client.write_all(&[0x81; 12]).await.unwrap();
        assert!(!guard.probe().await);
    }

    #[tokio::test]
    async fn ending_the_connection_ends_a_read_that_waits() {
        let (mut guard, _client, connection, _all) = guarded(&[]);
        let read = tokio::spawn(async move { guard.read(&mut [0; 8]).await });
        tokio::task::yield_now().await;
        connection.end(Ending::Dismissed);
        assert_eq!(read.await.unwrap().unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_let_go_after_the_stall_limit() {
        let (mut guard, _client, connection, _all) = guarded(&[]);
        let started = Instant::now();
        let error = guard.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(started.elapsed().as_secs(), 15);
        assert!(connection.is_ended());
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_answered_with_1009() {
        let (mut guard, mut client, connection, _all) = guarded(&[]);
        client
            .write_all(&[0x82, 0xfe, 0x03, 0xe9, 0, 0, 0, 0])
            .await
            .unwrap();
        assert_eq!(guard.read(&mut [0; 64]).await.unwrap(), 0);
        assert!(connection.is_ended());
        drop(guard);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, CLOSE_TOO_BIG);
    }

    #[test]
    fn a_budget_comes_back_at_its_rate_and_no_further_than_its_burst() {
        let now = Instant::now();
        let mut budget = Budget::new(100, 10);
        assert!(budget.spend(100, now));
        assert!(!budget.spend(1, now));
        let mut budget = Budget::new(100, 10);
        assert!(budget.spend(100, now));
        assert!(budget.spend(50, now + Duration::from_secs(5)));
        assert!(budget.spend(100, now + Duration::from_secs(500)));
        assert!(!budget.spend(101, now + Duration::from_secs(5_000)));
    }
}
