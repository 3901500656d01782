//! Accepts connections until the drain is over.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    os::fd::AsRawFd,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, task::yield_now, time::sleep};
use tokio_util::either::Either;

use super::{
    connection::{self, Preamble, Room, Shared},
    listener::Listener,
};
use crate::{
    config, gateway::Gateway, http::Api, lifecycle::Lifecycle, open_files::OpenFiles,
    stream::Accepted, telemetry::Episode,
};

/// How long to wait before retrying when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How long accepting must work without a failure before that is logged.
const CALM: Duration = Duration::from_secs(1);

/// Accepts connections, with one reserve of open files for all listeners.
#[derive(Clone)]
pub(super) struct Acceptor {
    config: config::Server,
    gateway: Gateway,
    lifecycle: Lifecycle,
    reserve: Arc<Mutex<Reserve>>,
}

/// Who connects to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Clients, and callers unless they have a listener of their own.
    Clients,
    Callers,
}

impl Acceptor {
    pub(super) fn new(config: config::Server, gateway: Gateway, lifecycle: Lifecycle) -> Self {
        let files = OpenFiles::of_process();
        tracing::info!(
            clients = files.clients,
            callers = files.callers,
            "reserving open files"
        );
        let reserve = Reserve::new(files, gateway.clone());
        Self {
            config,
            gateway,
            lifecycle,
            reserve: Arc::new(Mutex::new(reserve)),
        }
    }

    /// Serves every connection until `end`, including those still in the backlog then: one may hold the
    /// request of a caller that has hung up.
    pub(super) async fn run(
        self,
        listener: Listener,
        audience: Audience,
        preamble: Preamble,
        api: Api,
        end: impl Future<Output = ()>,
    ) {
        let Self {
            config,
            gateway,
            lifecycle,
            reserve,
        } = self;
        let backlog = config.backlog;
        let gateway = (audience == Audience::Clients).then_some(gateway);
        let shared = Shared::new(config, preamble, gateway.clone(), api, lifecycle.clone());
        // Returns whether there are enough open files for clients too.
        let serve = |accepted: Accepted| {
            let room = reserve
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .room(&accepted, audience);
            let is_for_all = matches!(room, Some(Room::ForAll));
            if let Some(room) = room {
                let bare = gateway.as_ref().map(Gateway::arrive);
                let connection = connection::serve(accepted, room, bare, shared.clone());
                lifecycle.spawn_awaited(connection);
            }
            is_for_all
        };
        let shortage = Episode::new(CALM);
        let mut end = pin!(end);
        loop {
            let accepted = tokio::select! {
                // Pending connections are accepted before the end is noticed.
                biased;
                accepted = listener.accept() => accepted,
                () = &mut end => break,
            };
            match accepted {
                Ok(accepted) => {
                    // At the limit, each connection that ends makes room for one more.
                    if shortage.ends(Instant::now()) {
                        tracing::info!("connections are accepted again");
                    }
                    if !serve(accepted) {
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
        let Ok(mut waiting) = listener.into_waiting() else {
            return;
        };
        for _ in 0..backlog {
            match waiting() {
                Ok(accepted) => {
                    serve(accepted);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => return,
            }
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
/// has been silent longest is closed, a client's first, so callers get through however many silent
/// connections there are.
struct Reserve {
    files: OpenFiles,
    gateway: Gateway,
    /// Held by each connection of the reserve.
    member: Arc<()>,
    /// Closed by dropping the sender; the receiver is dropped once a request has come.
    silent_clients: VecDeque<oneshot::Sender<()>>,
    /// The same on a listener for callers only, which clients cannot close.
    silent_callers: VecDeque<oneshot::Sender<()>>,
}

impl Reserve {
    fn new(files: OpenFiles, gateway: Gateway) -> Self {
        Self {
            files,
            gateway,
            member: Arc::default(),
            silent_clients: VecDeque::new(),
            silent_callers: VecDeque::new(),
        }
    }

    /// Who the new connection has room for; `None` if it has to be closed.
    fn room(&mut self, accepted: &Accepted, audience: Audience) -> Option<Room> {
        let file = match &accepted.socket {
            Either::Left(tcp) => tcp.as_raw_fd(),
            Either::Right(unix) => unix.as_raw_fd(),
        };
        if (file as u64) < self.files.clients {
            return Some(Room::ForAll);
        }
        let Self {
            silent_clients,
            silent_callers,
            ..
        } = self;
        silent_clients.retain(|silent| !silent.is_closed());
        silent_callers.retain(|silent| !silent.is_closed());
        if Arc::strong_count(&self.member) as u64 > self.files.callers {
            self.gateway.refused_for_lack_of_files();
            let longest = match (silent_clients.pop_front(), audience) {
                (None, Audience::Callers) => silent_callers.pop_front(),
                (client, _) => client,
            };
            drop(longest?);
        }
        let (evict, evicted) = oneshot::channel();
        match audience {
            Audience::Clients => silent_clients.push_back(evict),
            Audience::Callers => silent_callers.push_back(evict),
        }
        let member = self.member.clone();
        Some(Room::ForCallers { evicted, member })
    }
}
