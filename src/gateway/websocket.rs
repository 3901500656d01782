//! WebSocket: reads frames for a connection, which writes to the stream itself.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io::IoSlice,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::upgrade::OnUpgrade;
use tokio::time::timeout;

use super::{
    capacity::Permit,
    connection::{Connection, Ending},
    entrance::Credentials,
    frames::{self, Frames, Message, Violation},
    packet::{self, Packet},
    raw_stream::{Handover, RawStream},
};

/// The size of the read buffer; there is one per thread, so connections need none.
const SCRATCH: usize = 64 << 10;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

/// Opens a connection on the WebSocket that the request is about to become.
pub(super) async fn open(permit: Permit, on_upgrade: OnUpgrade, credentials: Option<Credentials>) {
    if let Some(handover) = upgraded(on_upgrade).await {
        let Handover {
            stream,
            early,
            response,
        } = handover;
        let connection = Connection::open_websocket(permit, credentials, stream, &response);
        carry(connection, Frames::default(), early);
    }
}

/// Upgrades a client that polls to the WebSocket that the request is about to become, once the client
/// has probed it and asks for it.
pub(super) async fn upgrade(connection: Arc<Connection>, on_upgrade: OnUpgrade) {
    let Some(handover) = upgraded(on_upgrade).await else {
        return connection.abandon_upgrade();
    };
    let Handover {
        mut stream,
        mut early,
        response,
    } = handover;
    if !write_now(&mut stream, &response) {
        return connection.abandon_upgrade();
    }
    let mut frames = Frames::default();
    let limit = connection.engine().socketio.upgrade_timeout;
    let probe = probe(&connection, &mut stream, &mut frames, &mut early);
    if timeout(limit, probe).await != Ok(true) {
        tracing::debug!(sid = %connection.sid(), "an upgrade failed");
        // Before the stream is closed, so that the client may try again at once.
        connection.abandon_upgrade();
        write_now(&mut stream, frames::close(&[]).bytes());
    } else if connection.upgrade(stream) {
        carry(connection, frames, early);
    }
}

/// Answers probes on a stream that is not the connection's yet. Returns whether the client asks for
/// the upgrade; what it sent after that stays in `early`.
async fn probe(
    connection: &Connection,
    stream: &mut RawStream,
    frames: &mut Frames,
    early: &mut Vec<u8>,
) -> bool {
    let limit = connection.engine().socketio.max_payload;
    loop {
        if early.is_empty() {
            early.resize(512, 0);
            let read = poll_fn(|context| match connection.poll_ended(context) {
                Poll::Ready(()) => Poll::Ready(Ok(0)),
                Poll::Pending => stream.poll_read(context, early),
            });
            let read = read.await.unwrap_or(0);
            early.truncate(read);
            if read == 0 {
                return false;
            }
            connection.charge(read);
        }
        let mut wanted = None;
        let read = frames.read(early, limit, |message| {
            let answer = match message {
                Message::Text(text) => match packet::read(text) {
                    Ok(Packet::Probe) => {
                        connection.probed();
                        Some(packet::PONG_PROBE)
                    }
                    Ok(Packet::Upgrade) if connection.is_probed() => {
                        wanted = Some(true);
                        None
                    }
                    _ => {
                        wanted = Some(false);
                        None
                    }
                },
                Message::Ping(payload) => Some(frames::pong(payload)),
                Message::Binary(_) | Message::Close(_) => {
                    wanted = Some(false);
                    None
                }
            };
            if !answer.is_none_or(|answer| write_now(stream, answer.bytes())) {
                wanted = Some(false);
            }
            wanted.is_none()
        });
        match read {
            Ok(read) => drop(early.drain(..read)),
            Err(_) => return false,
        }
        if let Some(wanted) = wanted {
            return wanted;
        }
    }
}

/// Writes a few bytes at once; `false` if they do not fit, as then the client does not read at all.
fn write_now(stream: &mut RawStream, bytes: &[u8]) -> bool {
    stream.try_write(&[IoSlice::new(bytes)]).ok() == Some(bytes.len())
}

async fn upgraded(on_upgrade: OnUpgrade) -> Option<Handover> {
    match on_upgrade.await {
        Ok(upgraded) => {
            let handover = RawStream::of(upgraded);
            if handover.is_none() {
                tracing::error!("an upgraded stream is not the one that was accepted");
            }
            handover
        }
        Err(error) => {
            tracing::debug!(%error, "a client left in the middle of its upgrade");
            None
        }
    }
}

/// Carries packets for a connection in a task of its own. The task ends with the connection, which the
/// registry holds and a drain ends, so it is not tracked a second time: that costs 100 bytes a client.
fn carry(connection: Arc<Connection>, frames: Frames, mut early: Vec<u8>) {
    let mut reader = Reader { connection, frames };
    reader.read(&mut early);
    tokio::spawn(reader);
}

struct Reader {
    connection: Arc<Connection>,
    frames: Frames,
}

impl Reader {
    fn read(&mut self, bytes: &mut [u8]) {
        let connection = &self.connection;
        let limit = connection.engine().socketio.max_payload;
        let read = self.frames.read(bytes, limit, |message| match message {
            Message::Text(text) => connection.receive(packet::read(text)),
            Message::Binary(_) => connection.receive(Ok(Packet::Attachment)),
            Message::Ping(payload) => connection.receive_ping(payload),
            Message::Close(payload) => {
                connection.receive_close(payload);
                false
            }
        });
        if let Err(violation) = read {
            connection.end(match violation {
                Violation::Protocol => Ending::ProtocolViolated,
                Violation::NotText => Ending::NotText,
                Violation::TooLong => Ending::MessageTooLong,
            });
        }
    }
}

impl Future for Reader {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read_now = 0;
            while read_now < SCRATCH {
                match std::task::ready!(self.connection.poll_stream(context, buffer)) {
                    Some(read) => {
                        self.read(&mut buffer[..read]);
                        read_now += read;
                    }
                    None => return Poll::Ready(()),
                }
            }
            // Other tasks need the thread.
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        task::{Wake, Waker},
    };

    use super::*;
    use crate::gateway::tests::{engine, permit, streams};

    #[test]
    fn the_task_of_an_idle_client_is_small() {
        assert_eq!(size_of::<Reader>(), 16);
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_client_that_floods_sockd_does_not_block_its_thread() {
        let (stream, client) = streams().await;
        // Unsolicited pongs, as many as fit into the buffers of the system.
        let flood = b"\x81\x81\0\0\0\x003".repeat(100_000);
        client.writable().await.expect("the connection is open");
        let sent = client.try_write(&flood).expect("there is room");
        let RawStream::Tcp(server) = &stream else {
            panic!("it is not TLS");
        };
        let mut arrived = vec![0; SCRATCH + 1];
        while server.peek(&mut arrived).await.expect("it is whole") <= SCRATCH {
            tokio::task::yield_now().await;
        }
        let mut reader = Reader {
            connection: Connection::open_websocket(permit(&engine()), None, stream, b""),
            frames: Frames::default(),
        };
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut reader).poll(&mut context).is_pending());
        assert!(
            woken.0.load(Ordering::Relaxed),
            "it has read {sent} bytes at once"
        );
    }
}
