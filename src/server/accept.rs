//! Accepts connections until the drain is over.

use std::{
    collections::VecDeque,
    io,
    os::fd::AsRawFd,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::yield_now,
    time::sleep,
};

use super::connection::{self, Room, Shared};
use crate::{
    config,
    gateway::{Gateway, OpenFiles},
    http::Api,
    lifecycle::Lifecycle,
    telemetry::Episode,
};

/// How long to wait before retrying when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How long accepting must work without a failure before that is logged.
const CALM: Duration = Duration::from_secs(1);

/// Serves every connection, including those still in the backlog at the end: one may hold the request
/// of a caller that has hung up.
pub(super) async fn run(
    listener: TcpListener,
    config: config::Server,
    gateway: Gateway,
    api: Api,
    lifecycle: Lifecycle,
) {
    let files = OpenFiles::of_process();
    tracing::info!(
        clients = files.clients,
        callers = files.callers,
        "reserving open files"
    );
    let backlog = config.backlog;
    let shared = Shared::new(config, gateway.clone(), api, lifecycle.clone());
    let mut reserve = Reserve::new(files);
    // Returns whether there are enough open files for clients too.
    let mut serve = |tcp: TcpStream| {
        let room = reserve.room(&tcp, &gateway);
        let is_for_all = matches!(room, Some(Room::ForAll));
        if let Some(room) = room {
            let bare = gateway.arrive();
            lifecycle.spawn_awaited(connection::serve(tcp, room, bare, shared.clone()));
        }
        is_for_all
    };
    let shortage = Episode::new(CALM);
    let mut closed = pin!(lifecycle.closed());
    loop {
        let accepted = tokio::select! {
            // Pending connections are accepted before the end is noticed.
            biased;
            accepted = listener.accept() => accepted,
            () = &mut closed => break,
        };
        match accepted {
            Ok((tcp, _)) => {
                // At the limit, each connection that ends makes room for another, so wait for calm.
                if shortage.ends(Instant::now()) {
                    tracing::info!("connections are accepted again");
                }
                if !serve(tcp) {
                    // Let an evicted connection close its file.
                    yield_now().await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                if shortage.begins(Instant::now()) {
                    tracing::warn!(
                        %error,
                        "cannot accept connections, retrying; new ones wait. Raise the limit of open files: LimitNOFILE= in the unit, or ulimit -n"
                    );
                }
                sleep(PAUSE).await;
            }
        }
    }
    // Asks the system directly, as the runtime may not know of the last ones yet.
    let Ok(listener) = listener.into_std() else {
        return;
    };
    for _ in 0..backlog {
        let accepted = listener.accept().and_then(|(tcp, _)| {
            tcp.set_nonblocking(true)?;
            TcpStream::from_std(tcp)
        });
        match accepted {
            Ok(tcp) => {
                serve(tcp);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => return,
        }
    }
}

/// Errors that Linux passes on from the new connection; see accept(2).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::PermissionDenied
    )
}

/// The open files that are reserved for callers. A connection that is accepted when only these are left
/// has to send its request at once and gets one response. When they run out too, the connection that
/// has been silent longest is closed, so callers get through however many silent connections there are.
struct Reserve {
    files: OpenFiles,
    /// Held by each connection of the reserve.
    member: Arc<()>,
    /// Closed by dropping the sender; the receiver is dropped once a request has come.
    silent: VecDeque<oneshot::Sender<()>>,
}

impl Reserve {
    fn new(files: OpenFiles) -> Self {
        Self {
            files,
            member: Arc::default(),
            silent: VecDeque::new(),
        }
    }

    /// Who the new connection has room for; `None` if it has to be closed.
    fn room(&mut self, tcp: &TcpStream, gateway: &Gateway) -> Option<Room> {
        if (tcp.as_raw_fd() as u64) < self.files.clients {
            return Some(Room::ForAll);
        }
        self.silent.retain(|silent| !silent.is_closed());
        if Arc::strong_count(&self.member) as u64 > self.files.callers {
            gateway.refused_for_lack_of_files();
            drop(self.silent.pop_front()?);
        }
        let (evict, evicted) = oneshot::channel();
        self.silent.push_back(evict);
        let member = self.member.clone();
        Some(Room::ForCallers { evicted, member })
    }
}
