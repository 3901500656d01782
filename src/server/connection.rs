//! One accepted connection, until it ends or is upgraded.

use std::convert::Infallible;

use axum::body::Body;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, sync::watch, time::timeout};

use crate::{
    config,
    gateway::{self, Gateway},
    http::Api,
    lifecycle::Lifecycle,
};

/// Serves one connection until it ends or, in a drain, until its present request is answered; the
/// drain's window is the time for a request that is not there yet.
pub(super) async fn serve(
    stream: TcpStream,
    config: config::Server,
    gateway: Gateway,
    api: Api,
    lifecycle: Lifecycle,
) {
    tune(&stream, &config);
    let (has_asked, mut asked) = watch::channel(false);
    let answer = service_fn(move |request: Request<Incoming>| {
        has_asked.send_replace(true);
        let (gateway, api) = (gateway.clone(), api.clone());
        async move {
            let request = request.map(Body::new);
            let response = if request.uri().path().starts_with(gateway::PATH) {
                gateway.serve(request).await
            } else {
                api.serve(request).await
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .keep_alive(!lifecycle.is_draining())
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(config.max_header_size)
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

fn tune(stream: &TcpStream, config: &config::Server) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(config.tcp_keepalive);
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(config.tcp_user_timeout)));
    if let Err(error) = tuned {
        tracing::debug!(%error, "cannot tune a connection that is gone already");
    }
}
