//! What the transports need from a connection: packets for polls, and reads and writes of a WebSocket.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{
    super::{engine::TransportKind, frames, packet, raw_stream::RawStream, ticker::Tick},
    Connection, Ending,
    locked::Locked,
    state::{LastWord, Phase, Transport, Upgrade},
};
use crate::wire::Step;

impl Connection {
    /// Whether the client polls.
    pub(in crate::gateway) fn is_polling(&self) -> bool {
        matches!(self.lock().transport, Transport::Polling(_))
    }

    /// Begins a poll; `None` if another is pending, which never happens with a client library.
    pub(in crate::gateway) fn begin_poll(self: &Arc<Self>) -> Option<PendingPoll> {
        let mut locked = self.lock();
        if std::mem::replace(&mut locked.is_polled, true) {
            locked.end(Ending::OverlappingPolls);
            return None;
        }
        Some(PendingPoll {
            connection: self.clone(),
            is_answered: false,
        })
    }

    /// Begins to read a POST; `None` if another is under way.
    pub(in crate::gateway) fn begin_post(&self) -> Option<Posting<'_>> {
        let mut locked = self.lock();
        if std::mem::replace(&mut locked.is_posting, true) {
            locked.end(Ending::OverlappingPosts);
            return None;
        }
        Some(Posting(self))
    }

    /// Whether sockd has ended the connection, other than to move the client.
    pub(in crate::gateway) fn is_ended_by_us(&self) -> bool {
        self.lock().phase == Phase::Ended(LastWord::Close)
    }

    /// Begins an upgrade; `false` if there is one already.
    pub(in crate::gateway) fn begin_upgrade(&self) -> bool {
        let mut locked = self.lock();
        let may = matches!(locked.transport, Transport::Polling(Upgrade::None));
        if may {
            locked.transport = Transport::Polling(Upgrade::Begun);
        }
        may
    }

    /// The WebSocket works: polls return at once from now on.
    pub(in crate::gateway) fn probed(&self) {
        let mut locked = self.lock();
        if let Transport::Polling(upgrade) = &mut locked.transport {
            *upgrade = Upgrade::Probed;
            locked.wakes_poll = true;
        }
    }

    /// Whether the client has probed its WebSocket.
    pub(in crate::gateway) fn is_probed(&self) -> bool {
        self.lock().is_probed()
    }

    /// The upgrade has failed, and the client goes on polling.
    pub(in crate::gateway) fn abandon_upgrade(&self) {
        if let Transport::Polling(upgrade) = &mut self.lock().transport {
            *upgrade = Upgrade::None;
        }
    }

    /// Moves the client to its WebSocket; `false` if it is gone.
    pub(in crate::gateway) fn upgrade(&self, stream: RawStream) -> bool {
        let mut locked = self.lock();
        let Transport::Polling(_) = locked.transport else {
            return false;
        };
        locked.transport = Transport::WebSocket(stream);
        locked.kind = Some(TransportKind::WebSocket);
        locked.trace(|locked| Step::Upgraded {
            address: locked.connection.shown_address(),
        });
        if locked.join_by == Tick::NEVER {
            let meters = &self.engine.meters;
            meters.of(TransportKind::Polling).joined.dec();
            meters.of(TransportKind::WebSocket).joined.inc();
        }
        locked.wakes_poll = true;
        if locked.phase == Phase::Closing {
            locked.close_after_upgrade();
        }
        locked.flush();
        true
    }

    /// Resolves when the connection has ended.
    pub(in crate::gateway) fn poll_ended(&self, context: &Context<'_>) -> Poll<()> {
        let mut locked = self.lock();
        if matches!(locked.phase, Phase::Ended(_)) {
            return Poll::Ready(());
        }
        store(&mut locked.task, context);
        Poll::Pending
    }

    /// Answers a ping from the client's WebSocket.
    pub(in crate::gateway) fn receive_ping(&self, payload: &[u8]) -> bool {
        let mut locked = self.lock();
        locked.charge_packet();
        if locked.phase == Phase::Open {
            locked.send(frames::pong(payload));
        }
        locked.phase == Phase::Open
    }

    /// The client has closed its WebSocket.
    pub(in crate::gateway) fn receive_close(&self, payload: &[u8]) {
        self.lock().closed_by_frame(payload);
    }

    /// Writes what is queued, and reads what the client has sent; `None` once the connection has
    /// ended.
    pub(in crate::gateway) fn poll_stream(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Option<usize>> {
        let mut locked = self.lock();
        store(&mut locked.task, context);
        if locked.has_unsent() && locked.poll_write(context).is_ready() {
            // The stream has failed.
            return Poll::Ready(None);
        }
        // After eight reads, other tasks get their turn.
        for _ in 0..8 {
            let Transport::WebSocket(stream) = &mut locked.transport else {
                return Poll::Ready(None);
            };
            let read = match stream.poll_read(context, buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(read) => read.unwrap_or(0),
            };
            if read == 0 {
                locked.finish(LastWord::Close);
                return Poll::Ready(None);
            }
            let meters = self.engine.meters.of(TransportKind::WebSocket);
            meters.received.inc_by(read as u64);
            locked.charge(read);
            // What comes after the close frame is read and dropped.
            if locked.phase == Phase::Open {
                return Poll::Ready(Some(read));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_packets(&self, context: &Context<'_>) -> Poll<Bytes> {
        let mut locked = self.lock();
        match (locked.phase, &locked.transport) {
            (Phase::Ended(LastWord::Close), _) => {
                return Poll::Ready(Bytes::from_static(packet::CLOSE));
            }
            (Phase::Ended(LastWord::Noop), _) | (_, Transport::WebSocket(_)) => {
                return Poll::Ready(Bytes::from_static(packet::NOOP));
            }
            _ => {}
        }
        if !locked.outbox.is_empty() {
            let limit = self.engine.socketio.max_payload;
            let packets = locked.outbox.take_payload(limit);
            self.engine.meters.polled.inc_by(packets.len() as u64);
            locked.in_flight += packets.len();
            // The client has got its last packets.
            if locked.phase == Phase::Closing && locked.outbox.is_empty() {
                locked.finish(LastWord::Close);
            }
            let connection = self.me.clone();
            let answer = PollResponse {
                packets,
                connection,
            };
            return Poll::Ready(Bytes::from_owner(answer));
        }
        if locked.is_probed() {
            return Poll::Ready(Bytes::from_static(packet::NOOP));
        }
        store(&mut locked.poll, context);
        Poll::Pending
    }
}

impl Locked<'_> {
    /// Whether something is queued, or has not left the stream of the WebSocket.
    fn has_unsent(&self) -> bool {
        let is_flushed = match &self.transport {
            Transport::WebSocket(stream) => stream.is_flushed(),
            _ => true,
        };
        !self.outbox.is_empty() || !is_flushed
    }

    /// Writes until all is written, or the stream takes no more; resolves when it has failed.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            self.flush();
            // The task is running already.
            self.wakes_task = false;
            if matches!(self.transport, Transport::WebSocket(_)) && !self.has_unsent() {
                return Poll::Pending;
            }
            let Transport::WebSocket(stream) = &mut self.transport else {
                return Poll::Ready(());
            };
            match stream.poll_write_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.finish(LastWord::Close);
                    return Poll::Ready(());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A pending poll. As in Node, a client that hangs up before it is answered ends its connection.
pub(in crate::gateway) struct PendingPoll {
    connection: Arc<Connection>,
    is_answered: bool,
}

impl Future for PendingPoll {
    type Output = Bytes;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Bytes> {
        let packets = self.connection.poll_packets(context);
        self.is_answered = packets.is_ready();
        packets
    }
}

impl Drop for PendingPoll {
    fn drop(&mut self) {
        let mut locked = self.connection.lock();
        locked.is_polled = false;
        // A client on a WebSocket no longer needs its poll.
        if !self.is_answered && matches!(locked.transport, Transport::Polling(_)) {
            locked.finish(LastWord::Noop);
        }
    }
}

/// The response to a poll, whose bytes count as queued until they are written.
struct PollResponse {
    packets: Bytes,
    connection: Weak<Connection>,
}

impl AsRef<[u8]> for PollResponse {
    fn as_ref(&self) -> &[u8] {
        &self.packets
    }
}

impl Drop for PollResponse {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.upgrade() {
            connection.lock().in_flight -= self.packets.len();
        }
    }
}

/// A POST that is under way until this is dropped.
pub(in crate::gateway) struct Posting<'a>(&'a Connection);

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        self.0.lock().is_posting = false;
    }
}

fn store(stored: &mut Option<Waker>, context: &Context<'_>) {
    match stored {
        Some(waker) => waker.clone_from(context.waker()),
        None => *stored = Some(context.waker().clone()),
    }
}
