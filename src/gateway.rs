//! The way in for Socket.IO clients. Only this module knows the framework.

mod connection;
mod cors;
mod frames;
mod guard;
mod handshake;
mod packets;
mod request;

use std::{sync::Arc, time::Duration};

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use engineioxide::service::NotFoundService;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::{OnUpgrade, Upgraded};
use socketioxide::{ParserConfig, SocketIo, service::SocketIoService, socket::Sid};
use tokio::time::timeout;
use tower_service::Service;

use self::{
    connection::{Connection, Connections, Ending, Transport},
    guard::{Allowance, Guard},
    handshake::Handshakes,
    request::{Asked, EngineError},
};
use crate::{
    auth::TokenVerifier,
    config,
    lifecycle::Lifecycle,
    node::Node,
    stream::Stream,
    wire::{ErrorBody, ErrorCode},
};

/// Every path that begins so is the Socket.IO endpoint.
pub const PATH: &str = "/socket.io/";

/// Packets that may wait for one client; what they may weigh is `limits.outbound_buffer`.
const QUEUE: usize = 4_096;
/// The read buffer of a WebSocket; the framework's own default costs 3.3 KiB more per socket.
const READ_BUFFER: usize = 256;
/// Binary attachments of one event, and their bytes: clients' events are ignored, so few are kept.
const ATTACHMENTS: usize = 16;
/// Connections that a drain closes at once; a small server drains in a moment.
const DRAIN_BATCH: usize = 50;
const DRAIN_STEP: Duration = Duration::from_millis(100);

type Framework = SocketIoService<NotFoundService>;

/// The Socket.IO endpoint.
#[derive(Clone)]
pub struct Gateway {
    framework: Framework,
    connections: Arc<Connections>,
    cors: Arc<config::Cors>,
    allowance: Allowance,
    max_payload: usize,
    body_timeout: Duration,
    upgrade_timeout: Duration,
    handshake_attempts: u32,
    lifecycle: Lifecycle,
}

impl Gateway {
    pub fn new(
        config: &config::Config,
        node: Arc<Node>,
        verifier: TokenVerifier,
        lifecycle: &Lifecycle,
    ) -> Self {
        let config::SocketIo {
            ping_interval,
            ping_timeout,
            connect_timeout,
            upgrade_timeout,
            max_payload,
        } = config.socketio;
        let parser = ParserConfig::common()
            .max_incoming_binaries(ATTACHMENTS)
            .max_incoming_binary_buf_size(max_payload);
        let (framework, io) = SocketIo::builder()
            .req_path(PATH.trim_end_matches('/'))
            .ping_interval(ping_interval)
            .ping_timeout(ping_timeout)
            .connect_timeout(connect_timeout)
            .upgrade_timeout(upgrade_timeout)
            .max_payload(max_payload as u64)
            .ws_max_message_size(max_payload)
            .ws_max_frame_size(max_payload)
            .ws_read_buffer_size(READ_BUFFER)
            .max_buffer_size(QUEUE)
            .with_parser(parser)
            .build_svc();
        let handshakes = Handshakes {
            node,
            verifier,
            on_expiry: config.auth.on_expiry,
            limits: config.limits.clone(),
            lifecycle: lifecycle.clone(),
        };
        handshake::open_namespace(&io, Arc::new(handshakes));
        let gateway = Self {
            framework,
            connections: Connections::new(),
            cors: Arc::new(config.cors.clone()),
            allowance: Allowance {
                max_message: max_payload as u64,
                write_stall: config.limits.write_stall,
                inbound_burst: config.limits.inbound_burst,
                inbound_rate: config.limits.inbound_rate,
            },
            max_payload,
            body_timeout: config.server.body_timeout,
            upgrade_timeout,
            handshake_attempts: config.limits.handshake_attempts,
            lifecycle: lifecycle.clone(),
        };
        let closer = gateway.framework.clone();
        let tasks = lifecycle.clone();
        gateway
            .connections
            .close_polling_with(move |sid| tasks.spawn(close_polling(closer.clone(), sid)));
        gateway
    }

    /// Answers a request to the endpoint.
    pub async fn serve(&self, request: Request<Body>) -> Response<Body> {
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let mut response = if method == Method::OPTIONS {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        } else {
            self.answer(request).await
        };
        cors::allow_origin(&self.cors, &headers, response.headers_mut());
        if method == Method::OPTIONS {
            cors::allow_request(&headers, response.headers_mut());
        }
        response
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let asked = match request::parse(&request, |sid| self.connections.find(sid).is_some()) {
            Ok(asked) => asked,
            Err(error) => return refuse(error),
        };
        if self.lifecycle.is_draining() && matches!(asked, Asked::Open | Asked::WebSocket(None)) {
            return fail(ErrorCode::Draining);
        }
        match asked {
            Asked::Open => self.open(request).await,
            Asked::Poll(sid) | Asked::Post(sid) => match self.connections.find(sid) {
                None => refuse(EngineError::SessionIdUnknown),
                Some(connection) if connection.transport() == Transport::WebSocket => {
                    refuse(EngineError::BadRequest)
                }
                Some(connection) => self.exchange(request, asked, &connection).await,
            },
            Asked::WebSocket(sid) => self.upgrade(request, sid),
        }
    }

    async fn open(&self, request: Request<Body>) -> Response<Body> {
        let connection = self
            .connections
            .open(Transport::Polling, request::credentials(&request));
        let answer = self
            .ask(Asked::Open, None, Bytes::new(), Some(connection.clone()))
            .await;
        if let Some(sid) = sid_of_open_packet(answer.body()) {
            connection.name(sid);
        }
        answer.map(Body::from)
    }

    /// A poll, or a post of what the client has.
    async fn exchange(
        &self,
        request: Request<Body>,
        asked: Asked,
        connection: &Connection,
    ) -> Response<Body> {
        let _posting = match asked {
            Asked::Post(_) => match connection.begin_post() {
                Some(posting) => Some(posting),
                None => {
                    connection.end(Ending::OverlappingPosts);
                    return refuse(EngineError::BadRequest);
                }
            },
            _ => None,
        };
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let body = match timeout(
            self.body_timeout,
            read_to_end(request.into_body(), self.max_payload),
        )
        .await
        {
            Ok(Ok(body)) => body,
            Ok(Err(Unread::TooLong)) => {
                connection.end(Ending::MessageTooLong);
                return fail(ErrorCode::PayloadTooLarge);
            }
            Ok(Err(Unread::Broken)) => return refuse(EngineError::BadRequest),
            Err(_) => return fail(ErrorCode::RequestTimeout),
        };
        if let Err(ending) = packets::check(&body, self.handshake_attempts) {
            connection.end(ending);
            return refuse(EngineError::BadRequest);
        }
        let answer = self.ask(asked, content_type, body, None).await;
        if matches!(asked, Asked::Poll(_)) {
            connection.dequeue(answer.body().len());
        }
        answer.map(Body::from)
    }

    /// Hands the framework a request of its own, so that it keeps nothing of the client's.
    async fn ask(
        &self,
        asked: Asked,
        content_type: Option<HeaderValue>,
        body: Bytes,
        connection: Option<Arc<Connection>>,
    ) -> Response<Bytes> {
        let method = if matches!(asked, Asked::Post(_)) {
            Method::POST
        } else {
            Method::GET
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = asked.uri();
        content_type.map(|value| request.headers_mut().insert(header::CONTENT_TYPE, value));
        connection.map(|connection| request.extensions_mut().insert(connection));
        let Ok(answer) = self.framework.clone().call(request).await;
        let (mut parts, body) = answer.into_parts();
        let body = body
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        if parts.status == StatusCode::BAD_REQUEST {
            // The framework's own errors come only from races: what it finds was looked up before.
            let unknown = body.windows(7).any(|window| window == b"unknown");
            let error = if unknown {
                EngineError::SessionIdUnknown
            } else {
                EngineError::BadRequest
            };
            return refuse(error);
        }
        parts
            .headers
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Response::from_parts(parts, body)
    }

    fn upgrade(&self, mut request: Request<Body>, sid: Option<Sid>) -> Response<Body> {
        let connection = match sid {
            None => None,
            Some(sid) => match self.connections.find(sid) {
                None => return refuse(EngineError::SessionIdUnknown),
                found => found,
            },
        };
        let head = {
            let mut head = Request::new(());
            *head.method_mut() = request.method().clone();
            *head.version_mut() = request.version();
            *head.headers_mut() = request.headers().clone();
            head
        };
        let Ok(answer) = tungstenite::handshake::server::create_response(&head) else {
            return refuse_upgrade(&head);
        };
        let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
            return refuse(EngineError::BadRequest);
        };
        let connection = match connection {
            None => self
                .connections
                .open(Transport::WebSocket, request::credentials(&request)),
            Some(connection) if connection.begin_upgrade() => connection,
            Some(_) => return refuse(EngineError::BadRequest),
        };
        let gateway = self.clone();
        self.lifecycle.spawn(async move {
            match on_upgrade.await {
                Ok(upgraded) => gateway.run_websocket(upgraded, sid, connection).await,
                Err(error) => {
                    tracing::debug!(%error, "a client left in the middle of its upgrade");
                    connection.abandon_upgrade();
                }
            }
        });
        answer.map(|()| Body::empty())
    }

    async fn run_websocket(
        mut self,
        upgraded: Upgraded,
        sid: Option<Sid>,
        connection: Arc<Connection>,
    ) {
        let Some((tcp, read)) = Stream::into_tcp(upgraded) else {
            tracing::error!("an upgraded stream is not the TCP stream that was accepted");
            return connection.abandon_upgrade();
        };
        let mut guard = Guard::new(tcp, &read, connection.clone(), self.allowance);
        // The framework stops the polling when it gets the stream, and ends the session when nothing
        // comes of it. So it gets it only once the client has shown that the way is free.
        if sid.is_some() {
            let probe = timeout(self.upgrade_timeout, guard.probe()).await;
            if probe != Ok(true) {
                tracing::debug!(?sid, "an upgrade came to nothing");
                return guard.abandon();
            }
        }
        let mut request = Request::new(());
        *request.uri_mut() = Asked::WebSocket(sid).uri();
        request.extensions_mut().insert(connection);
        // The call only starts the framework's tasks; a refusal was ruled out above.
        drop(self.framework.call((guard, request)));
    }

    /// Closes all connections, spread over the window so that their clients do not come back to
    /// the other nodes as one. The clients see a lost transport and reconnect by themselves.
    pub async fn drain(&self, window: Duration) {
        let connections = self.connections.list();
        let steps = (window.as_millis() / DRAIN_STEP.as_millis()).max(1) as usize;
        let batch = connections.len().div_ceil(steps).max(DRAIN_BATCH);
        for batch in connections.chunks(batch) {
            batch
                .iter()
                .for_each(|connection| connection.end(Ending::Draining));
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }
}

/// The client's own way to close a polling session: a POST with a close packet. The framework
/// offers no other from outside.
async fn close_polling(mut framework: Framework, sid: Sid) {
    let mut request = Request::new(Full::new(Bytes::from_static(b"1")));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Asked::Post(sid).uri();
    framework.call(request).await.ok();
}

/// Why there is no body.
enum Unread {
    TooLong,
    Broken,
}

/// The whole body, copied: its pieces would each keep the buffer that they were read into, which
/// makes a body of one-byte chunks cost many times its length.
async fn read_to_end(mut body: Body, limit: usize) -> Result<Bytes, Unread> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLong);
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(Unread::TooLong);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

fn sid_of_open_packet(body: &[u8]) -> Option<Sid> {
    #[derive(serde::Deserialize)]
    struct Open<'a> {
        sid: &'a str,
    }
    let open: Open<'_> = serde_json::from_slice(body.strip_prefix(b"0")?).ok()?;
    open.sid.parse().ok()
}

fn refuse<B: From<String>>(error: EngineError) -> Response<B> {
    json(EngineError::STATUS, error.body())
}

/// A client with another version of WebSocket is told the one that is spoken (RFC 6455, 4.4).
fn refuse_upgrade(head: &Request<()>) -> Response<Body> {
    let mut response = refuse(EngineError::BadRequest);
    let version = HeaderValue::from_static("13");
    if head.headers().get(header::SEC_WEBSOCKET_VERSION) != Some(&version) {
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

fn json<B: From<String>>(status: StatusCode, body: String) -> Response<B> {
    let mut response = Response::new(B::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
