//! A Socket.IO client over WebSocket that sees every packet as it is.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        protocol::frame::{
            Frame, FrameHeader,
            coding::{CloseCode, OpCode},
        },
    },
};

use super::{PATIENCE, http::RawConnection, jwt, within};

/// What the sockets of a replaced session get before they are disconnected.
pub const TOLD: &str = r#"42["auth:logout",{"reason":"SESSION_REPLACED"}]"#;

/// An open WebSocket. Pings of the server are answered and not shown.
pub struct WebSocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    answers_pings: bool,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    Packet(String),
    Binary(Vec<u8>),
    /// The connection is over, with the status of the close frame if there was one.
    Closed(Option<u16>),
}

impl WebSocket {
    /// Opens a new connection; its open packet is the next that comes.
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, "", &[]).await
    }

    /// With more of a query (`&token=…`) and headers.
    pub async fn open_with(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Self {
        Self::try_open(address, query, headers)
            .await
            .expect("the server accepts the WebSocket")
    }

    /// The server's HTTP status and body, where it refuses the upgrade.
    pub async fn try_open(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, String)> {
        let query = format!("EIO=4&transport=websocket{query}");
        Self::try_open_at(address, &query, headers).await
    }

    /// With a query that is not as it should be.
    pub async fn try_open_at(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, String)> {
        let url = format!("ws://{address}/socket.io/?{query}");
        let mut request = url.into_client_request().expect("an address");
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, value.parse().expect("a header"));
        }
        match within(PATIENCE, "an answer to the upgrade", connect_async(request)).await {
            Ok((stream, _)) => Ok(Self {
                stream,
                answers_pings: true,
            }),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                Err((
                    answer.status().as_u16(),
                    String::from_utf8_lossy(&body).into_owned(),
                ))
            }
            Err(error) => panic!("the upgrade failed: {error}"),
        }
    }

    /// Opens a connection and joins the namespace with the token of a user's session.
    pub async fn join(address: SocketAddr, user: &str, session: &str) -> Self {
        let mut socket = Self::open(address).await;
        assert!(socket.packet().await.starts_with('0'));
        assert_eq!(
            socket.connect(&jwt::token(user, session)).await.get(..10),
            Some("40{\"sid\":\"")
        );
        socket
    }

    /// Joins, and returns once a socket that joins next is certainly younger: sockd counts milliseconds.
    pub async fn join_first(address: SocketAddr, user: &str, session: &str) -> Self {
        let socket = Self::join(address, user, session).await;
        let joined = Instant::now();
        while joined.elapsed() < Duration::from_millis(2) {
            tokio::task::yield_now().await;
        }
        socket
    }

    /// Joins a server that may be away or refuse; returns why it failed.
    pub async fn try_join(address: SocketAddr, user: &str, session: &str) -> Result<Self, String> {
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let opened = within(PATIENCE, "an answer to the upgrade", connect_async(url)).await;
        let (stream, _) = opened.map_err(|error| error.to_string())?;
        let mut socket = Self {
            stream,
            answers_pings: true,
        };
        socket.next(PATIENCE).await;
        let token = jwt::token(user, session);
        socket.try_send(jwt::connect(&token)).await;
        match socket.next(PATIENCE).await {
            Came::Packet(packet) if packet.starts_with("40") => Ok(socket),
            other => Err(format!("{other:?}")),
        }
    }

    /// Sends a CONNECT with the token in its payload; returns the response.
    pub async fn connect(&mut self, token: &str) -> String {
        self.send(jwt::connect(token)).await;
        self.packet().await
    }

    /// From now on pings come as packets and stay unanswered.
    pub fn ignore_pings(&mut self) {
        self.answers_pings = false;
    }

    pub async fn send(&mut self, packet: impl Into<String>) {
        self.stream
            .send(Message::text(packet.into()))
            .await
            .expect("the server reads");
    }

    pub async fn send_binary(&mut self, bytes: Vec<u8>) {
        self.stream
            .send(Message::binary(bytes))
            .await
            .expect("the server reads");
    }

    /// Sends a frame as it is: a control frame, or a fragment of a message.
    pub async fn send_frame(&mut self, opcode: OpCode, payload: &[u8], is_final: bool) {
        let header = FrameHeader {
            opcode,
            is_final,
            ..FrameHeader::default()
        };
        let frame = Frame::from_payload(header, payload.to_vec().into());
        self.stream
            .send(Message::Frame(frame))
            .await
            .expect("the server reads");
    }

    pub async fn try_send_binary(&mut self, bytes: Vec<u8>) -> bool {
        self.stream.send(Message::binary(bytes)).await.is_ok()
    }

    /// Sends to a server that may have closed the connection.
    pub async fn try_send(&mut self, packet: impl Into<String>) -> bool {
        self.stream.send(Message::text(packet.into())).await.is_ok()
    }

    /// The next packet as text.
    pub async fn packet(&mut self) -> String {
        match self.next(PATIENCE).await {
            Came::Packet(packet) => packet,
            other => panic!("expected a packet, got {other:?}"),
        }
    }

    /// The end of the connection, with nothing before it.
    pub async fn closed(&mut self, limit: Duration) -> Option<u16> {
        match self.next(limit).await {
            Came::Closed(status) => status,
            other => panic!("expected the end, got {other:?}"),
        }
    }

    pub async fn next(&mut self, limit: Duration) -> Came {
        within(limit, "a packet", async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Text(text))) if text == "2" && self.answers_pings => {
                        self.stream.send(Message::text("3")).await.ok();
                    }
                    Some(Ok(Message::Text(text))) => return Came::Packet(text.to_string()),
                    Some(Ok(Message::Binary(bytes))) => return Came::Binary(bytes.to_vec()),
                    Some(Ok(Message::Close(frame))) => {
                        let status = frame.map(|frame| frame.code);
                        return Came::Closed(
                            status
                                .map(u16::from)
                                .filter(|code| *code != u16::from(CloseCode::Status)),
                        );
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Came::Closed(None),
                }
            }
        })
        .await
    }

    /// Drops the connection without a close frame.
    pub fn abandon(self) {}
}

/// A WebSocket of which every byte is the test's own, for a session that polls or a new one.
pub async fn open_raw(address: SocketAddr, sid: &str) -> RawConnection {
    let mut connection = RawConnection::open(address).await;
    connection.send(upgrade(sid)).await;
    let answer = connection.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    connection
}

/// The request that becomes a WebSocket.
pub fn upgrade(sid: &str) -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\nhost: sockd\r\n\
        connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A masked frame, the mask being zeros.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![opcode];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Asserts that a WebSocket is told that its session was replaced, disconnected, and closed.
pub async fn is_dismissed(socket: &mut WebSocket) {
    is_told(socket, TOLD).await;
}

/// Asserts that a WebSocket is told why, disconnected, and closed, with nothing else in between.
pub async fn is_told(socket: &mut WebSocket, why: &str) {
    assert_eq!(socket.packet().await, why);
    assert_eq!(socket.packet().await, "41");
    socket.closed(PATIENCE).await;
}
