//! One accepted connection, until it ends or is upgraded.

use std::{
    convert::Infallible,
    future::{Future, poll_fn, ready},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::Body;
use futures_util::future::{Either, FutureExt};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, header};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::timeout,
};

use super::repoll::Repoll;
use crate::{
    config,
    gateway::{self, Arrival, Gateway},
    http::Api,
    lifecycle::Lifecycle,
    metrics::{Counter, PROXY_PROTOCOL_REFUSALS, TLS_HANDSHAKE_FAILURES},
    stream::{
        Accepted, ProxyHeaderError, Refusal, Stream, TlsRefusal, TrustedProxies, header::has_token,
    },
    telemetry::Episode,
    tls::Certificates,
};

/// Header lines of a request; their bytes are limited as well.
const MAX_HEADERS: usize = 256;
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// Time for a request's head while open files are scarce.
const SCARCE_HEADER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a streamed response may take to end in a drain, as its caller may not read it.
const STREAM_END: Duration = Duration::from_secs(2);
/// The next refusal is logged after this time without any.
const CALM: Duration = Duration::from_secs(60);

/// What comes before HTTP on the connections of a listener.
pub(super) struct Preamble {
    /// The section of the listener's settings.
    section: &'static str,
    proxy_protocol: bool,
    refusals: [Counter; ProxyHeaderError::ALL.len()],
    refused: Episode,
    tls: Option<Arc<Certificates>>,
    /// Looked up only with TLS.
    failures: Option<[Counter; TlsRefusal::ALL.len()]>,
}

/// Whom there is room for.
pub(super) enum Room {
    ForAll,
    /// Clients are refused, and the connection closes after one response. It also closes when `evicted`
    /// resolves, unless it has received a request.
    ForCallers {
        evicted: oneshot::Receiver<()>,
        /// Its place in the reserve, held until it ends.
        place: OwnedSemaphorePermit,
    },
}

/// What a connection holds until its first request arrives.
struct Silent(Mutex<Option<Waiting>>);

struct Waiting {
    _arrival: Option<Arrival>,
    evicted: Option<oneshot::Receiver<()>>,
}

/// What all connections of a listener share.
pub(super) struct Shared {
    config: config::Server,
    preamble: Preamble,
    trusted_proxies: TrustedProxies,
    /// `None` where clients are not served.
    gateway: Option<Gateway>,
    api: Api,
    lifecycle: Lifecycle,
    keep_alive: Option<HeaderValue>,
}

impl Preamble {
    pub(super) fn new(
        section: &'static str,
        proxy_protocol: bool,
        tls: Option<Arc<Certificates>>,
    ) -> Self {
        let failure = |refusal: TlsRefusal| {
            TLS_HANDSHAKE_FAILURES.with_label_values(&[section, refusal.label()])
        };
        let counter = |error: ProxyHeaderError| {
            PROXY_PROTOCOL_REFUSALS.with_label_values(&[section, error.label()])
        };
        Self {
            section,
            proxy_protocol,
            refusals: ProxyHeaderError::ALL.map(counter),
            refused: Episode::new(CALM),
            failures: tls.is_some().then(|| TlsRefusal::ALL.map(failure)),
            tls,
        }
    }

    /// Counts a connection that was closed before its first request. The first of many without a PROXY protocol
    /// header is logged, because that is an operator's mistake, unlike a failed TLS handshake.
    fn refused(&self, refusal: Refusal) {
        let error = match refusal {
            Refusal::ProxyHeader(error) => error,
            Refusal::Tls(refusal) => {
                if let Some(failures) = &self.failures {
                    failures[refusal as usize].inc();
                }
                return;
            }
        };
        self.refusals[error as usize].inc();
        let now = Instant::now();
        self.refused.ends(now);
        if self.refused.begins(now) {
            let setting = format_args!("{}.proxy_protocol", self.section);
            tracing::warn!(
                %error,
                %setting,
                "closing connections without a PROXY protocol header; let the proxy send one (send-proxy-v2), or turn the setting off"
            );
        }
    }
}

impl Shared {
    pub(super) fn new(
        config: config::Server,
        preamble: Preamble,
        gateway: Option<Gateway>,
        api: Api,
        lifecycle: Lifecycle,
    ) -> Arc<Self> {
        let keep_alive = keep_alive_header(config.keep_alive);
        Arc::new(Self {
            trusted_proxies: TrustedProxies::new(&config),
            config,
            preamble,
            gateway,
            api,
            lifecycle,
            keep_alive,
        })
    }
}

/// Serves the connection until it ends or, in a drain, until its current request is answered. A first
/// request may still arrive within the drain's window.
pub(super) fn serve(
    accepted: Accepted,
    room: Room,
    arrival: Option<Arrival>,
    shared: Arc<Shared>,
) -> impl Future<Output = ()> + Send {
    let header_timeout = shared.config.header_timeout;
    let (has_room, header_timeout, evicted, place) = match room {
        Room::ForAll => (true, header_timeout, None, None),
        Room::ForCallers { evicted, place } => {
            let header_timeout = header_timeout.min(SCARCE_HEADER_TIMEOUT);
            (false, header_timeout, Some(evicted), Some(place))
        }
    };
    let silent = Silent::new(arrival, evicted);
    // Not an async function, whose future would hold these twice.
    async move {
        // What is only borrowed is dropped last: the place is free once the file is closed.
        let _ = &place;
        let Shared {
            config, lifecycle, ..
        } = &*shared;
        let stream = Stream::new(
            accepted,
            shared.preamble.proxy_protocol,
            shared.preamble.tls.as_ref().map(|tls| tls.config()),
            header_timeout,
            config.keep_alive,
        );
        let requests = stream.requests();
        let answer = service_fn(|request: Request<Incoming>| {
            silent.end();
            let gateway = shared.gateway.as_ref();
            let gateway = gateway.filter(|_| request.uri().path().starts_with(gateway::PATH));
            let refusal = shared.api.refusal(&request);
            // A client that half-closes during a poll is gone; a caller may still read the response.
            let under_way = requests.begin(gateway.is_none() || refusal.is_some());
            let stays_open = stays_open(request.version(), request.headers());
            let request = request.map(|body| requests.body(body));
            let answer = match (refusal, gateway) {
                (Some(refusal), _) => Either::Left(ready(refusal)),
                (None, Some(gateway)) => {
                    let peer = requests.peer();
                    let address =
                        peer.map(|peer| shared.trusted_proxies.client(peer, request.headers()));
                    let answer = gateway.serve(request.map(Body::new), address, has_room);
                    Either::Right(Either::Left(Box::pin(answer)))
                }
                (None, None) => Either::Right(Either::Right(shared.api.serve(request))),
            };
            let shared = &*shared;
            // Not an async block, which would hold the answer's future twice.
            answer.map(move |mut response| {
                if let Some(value) = &shared.keep_alive
                    && stays_open
                    && has_room
                    && !shared.lifecycle.is_draining()
                    && !response.status().is_informational()
                {
                    let headers = response.headers_mut();
                    headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
                    headers.insert(KEEP_ALIVE, value.clone());
                }
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    under_way.hold_answer();
                }
                if response.body().size_hint().exact().is_none() {
                    response = response.map(|body| Body::new(under_way.stream(body)));
                }
                Ok::<_, Infallible>(response)
            })
        });
        let connection = http1::Builder::new()
            .keep_alive(has_room && !lifecycle.is_draining())
            // The stream has its own limits, which distinguish a slow head from an idle connection.
            .header_read_timeout(None)
            .max_buf_size(config.max_header_size)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), answer)
            .with_upgrades();
        let mut connection = pin!(connection);
        let repoll = Repoll::default();
        let served = poll_fn(|context| match repoll.poll(connection.as_mut(), context) {
            // Checked last, so that a request that came with the eviction is answered.
            Poll::Pending => silent.poll_evicted(context).map(Ok),
            ended => ended,
        });
        let has_ended = match lifecycle.until_drained(served).await {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                tracing::debug!(%error, "a connection ended early");
                true
            }
            None => false,
        };
        if !has_ended {
            // A request that arrives during the drain is answered with that fact. The wait is limited because
            // browsers keep spare connections open that may never send a request.
            let first_request = poll_fn(|context| match connection.as_mut().poll(context) {
                Poll::Ready(_) => Poll::Ready(false),
                Poll::Pending if silent.has_ended() => Poll::Ready(true),
                Poll::Pending => Poll::Pending,
            });
            if timeout(config.drain_window, first_request).await == Ok(true) {
                connection.as_mut().graceful_shutdown();
                let limit = if requests.is_stream() {
                    STREAM_END
                } else {
                    Duration::MAX
                };
                timeout(limit, connection.as_mut()).await.ok();
            }
        }
        if let Some(refusal) = requests.refused() {
            shared.preamble.refused(refusal);
        }
    }
}

impl Silent {
    fn new(arrival: Option<Arrival>, evicted: Option<oneshot::Receiver<()>>) -> Self {
        let waiting = Waiting {
            _arrival: arrival,
            evicted,
        };
        Self(Mutex::new(Some(waiting)))
    }

    /// Called when a request has arrived.
    fn end(&self) {
        self.lock().take();
    }

    fn has_ended(&self) -> bool {
        self.lock().is_none()
    }

    /// Resolves when the connection has to make room for another; never once a request has arrived.
    fn poll_evicted(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.lock();
        let evicted = waiting
            .as_mut()
            .and_then(|waiting| waiting.evicted.as_mut());
        match evicted {
            Some(evicted) => Pin::new(evicted).poll(context).map(drop),
            None => Poll::Pending,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The `Keep-Alive` header that tells callers how long an idle connection lives, in whole seconds;
/// `None` for less than one.
fn keep_alive_header(keep_alive: Duration) -> Option<HeaderValue> {
    let seconds = keep_alive.as_secs();
    let value = format!("timeout={seconds}").parse().ok();
    value.filter(|_| seconds > 0)
}

/// Whether the connection can serve another request after this one (RFC 9112, 9.3).
fn stays_open(version: Version, headers: &HeaderMap) -> bool {
    let has = |option| has_token(headers, header::CONNECTION, option);
    !has("close") && (version == Version::HTTP_11 || has("keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller that keeps its connection open costs this much, and so does a client that polls.
    #[test]
    fn the_task_of_a_connection_is_small() {
        fn size_of_future<F: Future>(
            _: fn(Accepted, Room, Option<Arrival>, Arc<Shared>) -> F,
        ) -> usize {
            size_of::<F>()
        }
        let size = size_of_future(serve);
        assert!(size <= 1_160, "{size}");
    }
}
