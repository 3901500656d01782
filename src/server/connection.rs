//! One accepted connection, until it ends or is upgraded.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Request, Version, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, sync::watch, time::timeout};

use crate::{
    config,
    gateway::{self, Gateway},
    http::Api,
    lifecycle::Lifecycle,
    stream::Stream,
};

/// Lines of a request's head, whose bytes are limited as well.
const MAX_HEADERS: usize = 256;

/// Serves the connection until it ends or, in a drain, until its present request is answered; the
/// drain's window is the time for a request that is not there yet.
pub(super) async fn serve(
    tcp: TcpStream,
    config: config::Server,
    gateway: Gateway,
    api: Api,
    lifecycle: Lifecycle,
) {
    tune(&tcp, &config);
    let stream = Stream::new(tcp, config.header_timeout, config.keep_alive);
    let requests = stream.requests();
    let (has_asked, mut asked) = watch::channel(false);
    let keep_alive = keep_alive_header(config.keep_alive);
    let draining = lifecycle.clone();
    let answer = service_fn(move |request: Request<Incoming>| {
        has_asked.send_replace(true);
        let is_client = request.uri().path().starts_with(gateway::PATH);
        let refusal = api.refusal(&request);
        // A client that hangs up while it polls is gone; anybody else may still read the answer.
        let under_way = requests.begin(!is_client || refusal.is_some());
        let keep_alive = keep_alive
            .clone()
            .filter(|_| stays_open(request.version(), request.headers()));
        let request = request.map(|body| Body::new(requests.body(body)));
        let answer = match refusal {
            Some(refusal) => Either::Left(std::future::ready(refusal)),
            None if is_client => {
                let gateway = gateway.clone();
                Either::Right(Either::Left(async move { gateway.serve(request).await }))
            }
            None => Either::Right(Either::Right(api.serve(request))),
        };
        let draining = draining.clone();
        async move {
            let mut response = answer.await;
            if let Some(value) = keep_alive
                && !draining.is_draining()
                && !response.status().is_informational()
            {
                let headers = response.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
                headers.insert("keep-alive", value);
            }
            drop(under_way);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .keep_alive(!lifecycle.is_draining())
        // The stream has limits of its own, which tell a slow head from an idle connection.
        .header_read_timeout(None)
        .max_buf_size(config.max_header_size)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
            return;
        }
        () = lifecycle.drained() => {}
    }
    // Who comes during the drain is still told that it is one. A browser keeps connections ready on
    // which it may never ask anything.
    let first_request = timeout(config.drain_window, asked.wait_for(|asked| *asked));
    tokio::select! {
        _ = connection.as_mut() => return,
        asked = first_request => if asked.is_err() {
            return;
        }
    }
    connection.as_mut().graceful_shutdown();
    connection.await.ok();
}

fn tune(tcp: &TcpStream, config: &config::Server) {
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new().with_time(config.tcp_keepalive);
    let tuned = tcp
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(config.tcp_user_timeout)));
    if let Err(error) = tuned {
        tracing::debug!(%error, "cannot tune a connection that is gone already");
    }
}

/// How callers are told for how long they may keep a connection, in whole seconds; `None` for less.
fn keep_alive_header(keep_alive: Duration) -> Option<HeaderValue> {
    let seconds = keep_alive.as_secs();
    let value = format!("timeout={seconds}").parse().ok();
    value.filter(|_| seconds > 0)
}

/// Whether the connection can serve another request after this one (RFC 9112, 9.3).
fn stays_open(version: Version, headers: &HeaderMap) -> bool {
    let has = |option: &str| {
        let values = headers.get_all(header::CONNECTION).into_iter();
        let options = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let mut options = options.map(str::trim);
        options.any(|given| given.eq_ignore_ascii_case(option))
    };
    !has("close") && (version == Version::HTTP_11 || has("keep-alive"))
}
