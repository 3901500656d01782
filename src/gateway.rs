//! The Socket.IO endpoint: the parts of Engine.IO v4 and Socket.IO v5 that sockd needs, with the
//! namespace `/`.
//!
//! In reading order: `request` parses what a request asks for; `packet` reads and writes packets;
//! `connection` is one client, whatever its transport, with its `outbox`; `polling` and `websocket`
//! carry packets for it, the latter as `frames` over a `raw_stream`; `entrance` answers CONNECT;
//! `capacity` and `address_rate` limit the number of clients; `registry` finds connections, `ticker` runs
//! their timers, `moving` closes them so that clients reconnect elsewhere, `access` logs their ends, and
//! `engine` is what all of them share.

mod access;
mod address_rate;
mod capacity;
mod connection;
mod cors;
mod engine;
mod entrance;
mod frames;
#[cfg(test)]
mod fuzz;
mod moving;
mod outbox;
mod packet;
mod polling;
mod raw_stream;
mod registry;
mod request;
#[cfg(test)]
mod tests;
mod ticker;
mod websocket;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;

pub use self::capacity::Arrival;
use self::{
    capacity::{Limit, Permit},
    connection::Connection,
    engine::Engine,
    entrance::Entrance,
    polling::PostOutcome,
    request::{Action, EngineError},
};
use crate::{
    config,
    lifecycle::Lifecycle,
    node::Node,
    reload::Current,
    stream::ClientAddress,
    wire::{ErrorBody, ErrorCode},
};

/// Requests to paths with this prefix go to the Socket.IO endpoint.
pub const PATH: &str = "/socket.io/";

/// Seconds after which a client that was refused at a limit may retry.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// The Socket.IO endpoint.
#[derive(Clone)]
pub struct Gateway {
    engine: Arc<Engine>,
    body_timeout: Duration,
}

impl Gateway {
    pub fn new(
        config: &config::Config,
        current: Current,
        node: Arc<Node>,
        lifecycle: &Lifecycle,
    ) -> Self {
        Self {
            engine: Engine::start(config, current, Entrance::new(node), lifecycle),
            body_timeout: config.server.body_timeout,
        }
    }

    /// Counts a TCP connection as a client without a socket until its first request arrives.
    pub fn arrive(&self) -> Arrival {
        Arrival::new(&self.engine)
    }

    /// Counts a client that is refused because too many files are open.
    pub fn refused_for_lack_of_files(&self) {
        self.engine.capacity.refused(Limit::OpenFiles, None);
    }

    /// Serves a request from the client at this address. Without `has_room`, refuses it because too
    /// many files are open.
    pub async fn serve(
        &self,
        request: Request<Body>,
        address: Option<ClientAddress>,
        has_room: bool,
    ) -> Response<Body> {
        let cors_headers = cors::request_headers(request.headers());
        let method = request.method().clone();
        let mut response = if method == Method::OPTIONS {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        } else if has_room {
            self.respond(request, address).await
        } else {
            self.refused_for_lack_of_files();
            refuse_at_limit()
        };
        cors::allow_origin(
            &self.engine.current.load().cors,
            &cors_headers,
            response.headers_mut(),
        );
        if method == Method::OPTIONS {
            cors::allow_request(&cors_headers, response.headers_mut());
        }
        response
    }

    async fn respond(
        &self,
        mut request: Request<Body>,
        address: Option<ClientAddress>,
    ) -> Response<Body> {
        let action = match request::parse(&request, |sid| self.engine.registry.find(sid)) {
            Ok(action) => action,
            Err(error) => return refuse(error),
        };
        let is_new = matches!(action, Action::Open | Action::WebSocket);
        if is_new && self.engine.lifecycle.is_draining() {
            return fail(ErrorCode::Draining);
        }
        match action {
            Action::Open => {
                let Ok(permit) = Permit::acquire(&self.engine, address) else {
                    return refuse_at_limit();
                };
                let credentials = request::credentials(&request);
                let connection = Connection::open_polling(permit, credentials);
                let upgrades = r#""websocket""#;
                let packet = self.engine.open_packet(*connection.sid(), upgrades);
                packets(packet.packet())
            }
            Action::Poll(connection) if connection.is_polling() => {
                // A waiting poll must not pin the buffer that its request was read into.
                drop(request);
                match polling::poll(&connection).await {
                    Some(payload) => packets(payload),
                    None => refuse(EngineError::BadRequest),
                }
            }
            Action::Post(connection) if connection.is_polling() => {
                match polling::post(&connection, request, self.body_timeout).await {
                    PostOutcome::Taken => packets(Bytes::from_static(b"ok")),
                    PostOutcome::Refused => refuse(EngineError::BadRequest),
                    PostOutcome::TooLong => fail(ErrorCode::PayloadTooLarge),
                    PostOutcome::TooSlow => fail(ErrorCode::RequestTimeout),
                }
            }
            Action::Poll(_) | Action::Post(_) => refuse(EngineError::BadRequest),
            Action::WebSocket => {
                let credentials = request::credentials(&request);
                let Some((response, on_upgrade)) = accept(&mut request) else {
                    return refuse_upgrade(&request);
                };
                let Ok(permit) = Permit::acquire(&self.engine, address) else {
                    return refuse_at_limit();
                };
                let open = websocket::open(permit, on_upgrade, credentials);
                self.engine.lifecycle.spawn(open);
                response
            }
            Action::Upgrade(connection) => match accept(&mut request) {
                Some((response, on_upgrade)) if connection.begin_upgrade() => {
                    let upgrade = websocket::upgrade(connection, on_upgrade);
                    self.engine.lifecycle.spawn(upgrade);
                    response
                }
                Some(_) => refuse(EngineError::BadRequest),
                None => refuse_upgrade(&request),
            },
        }
    }
}

fn accept(request: &mut Request<Body>) -> Option<(Response<Body>, OnUpgrade)> {
    let response = request::accept_websocket(request)?;
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>()?;
    Some((response, on_upgrade))
}

/// The response to a polling request.
fn packets(payload: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(payload));
    let headers = response.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=UTF-8");
    headers.insert(header::CONTENT_TYPE, text);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refuse(error: EngineError) -> Response<Body> {
    json(StatusCode::BAD_REQUEST, error.body())
}

/// Refuses an upgrade. A client with another version of WebSocket is told the supported one
/// (RFC 6455, 4.4).
fn refuse_upgrade(request: &Request<Body>) -> Response<Body> {
    let mut response = refuse(EngineError::BadRequest);
    let version = HeaderValue::from_static("13");
    if request.headers().get(header::SEC_WEBSOCKET_VERSION) != Some(&version) {
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_VERSION, version);
    }
    response
}

fn fail(code: ErrorCode) -> Response<Body> {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(
        status,
        serde_json::to_string(&ErrorBody::from(code)).unwrap_or_default(),
    )
}

/// The response to a client that the node has no room for.
fn refuse_at_limit() -> Response<Body> {
    let mut response = fail(ErrorCode::Overloaded);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
