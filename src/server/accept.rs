//! Accepts connections until the drain is over.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    os::fd::AsRawFd,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{sleep, timeout},
};
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
/// How long accepting must succeed before the end of a failure is logged.
const CALM: Duration = Duration::from_secs(1);

/// Accepts connections, with one reserve of open files for all listeners.
#[derive(Clone)]
pub(super) struct Acceptor {
    config: config::Server,
    gateway: Gateway,
    lifecycle: Lifecycle,
    reserve: Arc<Reserve>,
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
            reserve: Arc::new(reserve),
        }
    }

    /// Serves every connection until `end`, including those that are in the backlog then, which may hold the
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
        let serve = async |accepted: Accepted| {
            if let Some(room) = reserve.room(&accepted, audience).await {
                let arrival = gateway.as_ref().map(Gateway::arrive);
                let connection = connection::serve(accepted, room, arrival, shared.clone());
                lifecycle.spawn_awaited(connection);
            }
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
                    serve(accepted).await;
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
                Ok(accepted) => serve(accepted).await,
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

/// The open files that are reserved for callers. A connection that is accepted when only these are left has to
/// send its request at once and gets one response. When they run out as well, the connection that has been
/// silent longest is closed, clients' first. So callers get through, however many silent connections there
/// are.
struct Reserve {
    files: OpenFiles,
    gateway: Gateway,
    /// Each connection of the reserve holds one until it ends.
    places: Arc<Semaphore>,
    silent: Mutex<SilentConnections>,
}

/// The connections of the reserve from which no request has come yet, the longest silent first. Each is
/// closed by dropping its sender; the receiver is dropped once a request has come.
#[derive(Default)]
struct SilentConnections {
    clients: VecDeque<oneshot::Sender<()>>,
    /// Those on a listener for callers only, which clients cannot close.
    callers: VecDeque<oneshot::Sender<()>>,
}

impl Reserve {
    fn new(files: OpenFiles, gateway: Gateway) -> Self {
        let places = usize::try_from(files.callers).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            files,
            gateway,
            places: Arc::new(Semaphore::new(places)),
            silent: Mutex::default(),
        }
    }

    /// Whom there is room for on the new connection; `None` if it must be closed.
    async fn room(&self, accepted: &Accepted, audience: Audience) -> Option<Room> {
        let file = match &accepted.socket {
            Either::Left(tcp) => tcp.as_raw_fd(),
            Either::Right(unix) => unix.as_raw_fd(),
        };
        if (file as u64) < self.files.clients {
            return Some(Room::ForAll);
        }
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => self.place_of_another(audience).await?,
        };
        let (evict, evicted) = oneshot::channel();
        self.silent().push(evict, audience);
        Some(Room::ForCallers { evicted, place })
    }

    /// Evicts silent connections until one has ended and its file is closed. `None` if none is silent.
    async fn place_of_another(&self, audience: Audience) -> Option<OwnedSemaphorePermit> {
        loop {
            self.gateway.refused_for_lack_of_files();
            self.silent().evict(audience)?;
            // A connection whose request came at this moment keeps its place.
            let freed = timeout(PAUSE, self.places.clone().acquire_owned());
            if let Ok(Ok(place)) = freed.await {
                return Some(place);
            }
        }
    }

    fn silent(&self) -> MutexGuard<'_, SilentConnections> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SilentConnections {
    fn push(&mut self, evict: oneshot::Sender<()>, audience: Audience) {
        let silent = match audience {
            Audience::Clients => &mut self.clients,
            Audience::Callers => &mut self.callers,
        };
        silent.retain(|silent| !silent.is_closed());
        silent.push_back(evict);
    }

    /// `None` if there is none that may make room for a connection of this audience.
    fn evict(&mut self, audience: Audience) -> Option<()> {
        let Self { clients, callers } = self;
        clients.retain(|silent| !silent.is_closed());
        callers.retain(|silent| !silent.is_closed());
        match (clients.pop_front(), audience) {
            (None, Audience::Callers) => callers.pop_front(),
            (client, _) => client,
        }
        .map(drop)
    }
}
