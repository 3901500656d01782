//! A node's end of the network.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use sockd::redis::dialer::{Dial, Dialing, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{sleep, sleep_until},
};

use super::{Connection, End, Network, Packet};
use crate::redis::{ConnectionId, take_commands};

/// The way of one node to Redis.
pub(super) struct NodeNetwork {
    pub(super) network: Arc<Network>,
    pub(super) node: usize,
}

impl Dial for NodeNetwork {
    fn dial(&self, _: &str) -> Dialing {
        let (network, node) = (self.network.clone(), self.node);
        Box::pin(async move {
            let takes = {
                let mut inner = network.inner();
                let latency = inner.latency;
                inner.rng.u64(0..=latency)
            };
            sleep(Duration::from_millis(takes)).await;
            while let Some(until) = network.stalled_until(node) {
                sleep_until(until).await;
            }
            let mut inner = network.inner();
            if inner.down {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let id = inner.connections.len();
            let connection = Connection {
                node,
                server: inner.servers.len() - 1,
                is_subscriber: false,
                unread: Vec::new(),
                received: VecDeque::new(),
                reader: None,
                ways: Default::default(),
                end: None,
            };
            inner.connections.push(connection);
            drop(inner);
            Ok(Box::new(NodeEnd { network, id }) as Box<dyn Stream>)
        })
    }

    fn jitter(&self) -> f64 {
        self.network.inner().rng.f64()
    }
}

impl fmt::Debug for NodeNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the network of node {}", self.node)
    }
}

/// The node's end of a connection.
struct NodeEnd {
    network: Arc<Network>,
    id: ConnectionId,
}

impl NodeEnd {
    fn close(&self) {
        let mut inner = self.network.inner();
        if inner.connections[self.id].end.is_none() {
            inner.connections[self.id].end = Some(End::Closed);
            inner.send(self.id, true, Packet::Close);
            self.network.changed.notify_one();
        }
    }
}

impl Drop for NodeEnd {
    fn drop(&mut self) {
        self.close();
    }
}

impl AsyncRead for NodeEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.network.inner();
        let connection = &mut inner.connections[self.id];
        if connection.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if connection.received.is_empty() {
            connection.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let length = connection.received.len().min(buffer.remaining());
        let bytes: Vec<u8> = connection.received.drain(..length).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for NodeEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.network.inner();
        let connection = &mut inner.connections[self.id];
        if connection.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        connection.unread.extend_from_slice(bytes);
        let commands = take_commands(&mut connection.unread);
        for command in commands {
            inner.send(self.id, true, Packet::Command(command));
        }
        self.network.changed.notify_one();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}
