//! One client's connection, across its transports: what it may cost, and how it is ended.

use std::{
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    task::Context,
};

use dashmap::DashMap;
use futures_util::task::AtomicWaker;
use socketioxide::socket::Sid;

use crate::secret::Secret;

/// Why a connection is ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Dismissed,
    Draining,
    Flooding,
    MessageTooLong,
    OverlappingPosts,
    SlowReader,
    TooManyRefusals,
    Unreadable,
    UpgradeAbandoned,
    WriteStalled,
}

impl Ending {
    fn label(self) -> &'static str {
        match self {
            Self::Dismissed => "dismissed",
            Self::Draining => "draining",
            Self::Flooding => "flooding",
            Self::MessageTooLong => "message_too_long",
            Self::OverlappingPosts => "overlapping_posts",
            Self::SlowReader => "slow_reader",
            Self::TooManyRefusals => "too_many_refusals",
            Self::Unreadable => "unreadable",
            Self::UpgradeAbandoned => "upgrade_abandoned",
            Self::WriteStalled => "write_stalled",
        }
    }
}

/// Where the transport of a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Transport {
    Polling,
    /// A WebSocket was opened for a connection that polls; the client may not have moved to it.
    Upgrading,
    WebSocket,
}

/// The tokens that came with the request that opened the connection.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    pub(super) authorization: Option<Secret>,
    pub(super) query: Option<Secret>,
}

/// A connection lives as long as the framework keeps the request that opened it.
pub(super) struct Connection {
    number: u64,
    sid: OnceLock<Sid>,
    transport: AtomicU8,
    pub(super) credentials: Credentials,
    queued: AtomicUsize,
    refusals: AtomicU32,
    dismissed: AtomicBool,
    posting: AtomicBool,
    ended: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    all: Weak<Connections>,
}

/// All connections of this process.
pub(super) struct Connections {
    last: AtomicU64,
    by_number: DashMap<u64, Weak<Connection>>,
    by_sid: DashMap<Sid, Weak<Connection>>,
    /// Ends a session of the framework that has no stream of its own.
    close_polling: OnceLock<Box<dyn Fn(Sid) + Send + Sync>>,
}

impl Connections {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            last: AtomicU64::new(0),
            by_number: DashMap::new(),
            by_sid: DashMap::new(),
            close_polling: OnceLock::new(),
        })
    }

    /// Says how a polling session is closed; once, before the first connection.
    pub(super) fn close_polling_with(&self, close: impl Fn(Sid) + Send + Sync + 'static) {
        self.close_polling.set(Box::new(close)).ok();
    }

    pub(super) fn open(
        self: &Arc<Self>,
        transport: Transport,
        credentials: Credentials,
    ) -> Arc<Connection> {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            number,
            sid: OnceLock::new(),
            transport: AtomicU8::new(transport as u8),
            credentials,
            queued: AtomicUsize::new(0),
            refusals: AtomicU32::new(0),
            dismissed: AtomicBool::new(false),
            posting: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            all: Arc::downgrade(self),
        });
        self.by_number.insert(number, Arc::downgrade(&connection));
        connection
    }

    /// The connection that the framework knows by this id, if it began with polling and goes on.
    pub(super) fn find(&self, sid: Sid) -> Option<Arc<Connection>> {
        let connection = self.by_sid.get(&sid)?.upgrade()?;
        (!connection.is_ended()).then_some(connection)
    }

    pub(super) fn list(&self) -> Vec<Arc<Connection>> {
        self.by_number
            .iter()
            .filter_map(|connection| connection.upgrade())
            .collect()
    }
}

impl Connection {
    /// The framework has given the connection an id.
    pub(super) fn name(self: &Arc<Self>, sid: Sid) {
        if self.sid.set(sid).is_ok()
            && self.transport() == Transport::Polling
            && let Some(all) = self.all.upgrade()
        {
            all.by_sid.insert(sid, Arc::downgrade(self));
        }
    }

    pub(super) fn transport(&self) -> Transport {
        match self.transport.load(Ordering::Acquire) {
            0 => Transport::Polling,
            1 => Transport::Upgrading,
            _ => Transport::WebSocket,
        }
    }

    /// Begins an upgrade; `false` if there was one before.
    pub(super) fn begin_upgrade(&self) -> bool {
        let (from, to) = (Transport::Polling as u8, Transport::Upgrading as u8);
        self.transport
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The stream of an upgrade was of no use. A connection that polls goes on with that.
    pub(super) fn abandon_upgrade(&self) {
        let (from, to) = (Transport::Upgrading as u8, Transport::Polling as u8);
        let was_polling = self
            .transport
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !was_polling {
            self.end(Ending::UpgradeAbandoned);
        }
    }

    /// Counts bytes that wait for the client; `false` if they would be too many.
    pub(super) fn enqueue(&self, bytes: usize, limit: usize) -> bool {
        let queued = self.queued.fetch_add(bytes, Ordering::Relaxed);
        // One event alone always fits, however large the operator lets events be.
        queued == 0 || queued + bytes <= limit
    }

    /// Counts bytes that have gone to the client, protocol overhead included.
    pub(super) fn dequeue(&self, bytes: usize) {
        let subtract = |queued: usize| Some(queued.saturating_sub(bytes));
        self.queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract)
            .ok();
    }

    /// Whether anything may still wait for the client.
    pub(super) fn has_queued(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > 0
    }

    /// Begins to take a POST; `None` while another is under way, as no client's code has two.
    pub(super) fn begin_post(&self) -> Option<Posting<'_>> {
        let was_posting = self.posting.swap(true, Ordering::AcqRel);
        // Not made where it is not wanted: its end would be taken for the other's.
        (!was_posting).then(|| Posting(&self.posting))
    }

    /// Counts a refused handshake; answers how many there were.
    pub(super) fn refuse(&self) -> u32 {
        self.refusals.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The connection's socket had to go, and the connection goes as soon as its client knows.
    pub(super) fn dismiss(&self) {
        self.dismissed.store(true, Ordering::Release);
    }

    pub(super) fn is_dismissed(&self) -> bool {
        self.dismissed.load(Ordering::Acquire)
    }

    /// Ends the connection on whatever transport it is. The framework then lets go of it.
    pub(super) fn end(&self, ending: Ending) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        metrics::counter!("sockd_connections_ended_total", "why" => ending.label()).increment(1);
        tracing::debug!(sid = ?self.sid.get(), ?ending, "ending a connection");
        self.reader.wake();
        self.writer.wake();
        if self.transport() != Transport::WebSocket {
            self.close_polling();
        }
    }

    /// The stream of an upgrade is gone. If the client had not moved to it, the framework would
    /// answer its polls with nothing for ever; so the session ends, and the client comes back.
    pub(super) fn stream_gone(&self) {
        if self.transport() == Transport::Upgrading {
            self.close_polling();
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn wake_reader_at_end(&self, context: &Context<'_>) {
        self.reader.register(context.waker());
    }

    pub(super) fn wake_writer_at_end(&self, context: &Context<'_>) {
        self.writer.register(context.waker());
    }

    fn close_polling(&self) {
        let Some(all) = self.all.upgrade() else {
            return;
        };
        if let (Some(sid), Some(close)) = (self.sid.get(), all.close_polling.get()) {
            close(*sid);
        }
    }
}

/// A POST that is under way until this is dropped.
pub(super) struct Posting<'a>(&'a AtomicBool);

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(all) = self.all.upgrade() {
            all.by_number.remove(&self.number);
            if let Some(sid) = self.sid.get() {
                all.by_sid.remove(sid);
            }
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("number", &self.number)
            .field("sid", &self.sid.get())
            .finish()
    }
}
