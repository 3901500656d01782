//! HTTP and WebSocket for the conversations: requests whose responses come later or never, and
//! connections that end in every way.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

/// How long a server may take for anything.
pub const LIMIT: Duration = Duration::from_secs(5);

/// A request on a connection of its own that has been sent.
pub struct Exchange {
    stream: TcpStream,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Exchange {
    /// Sends a request; `head` is its first line and further headers.
    pub async fn begin(address: SocketAddr, head: &str, body: &str) -> Self {
        Self::begin_part(address, head, body, body.len()).await
    }

    /// Sends a request and only so many bytes of its body.
    pub async fn begin_part(address: SocketAddr, head: &str, body: &str, sent: usize) -> Self {
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let mut request = format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        for header in headers.lines() {
            request += &format!("{header}\r\n");
        }
        if !line.starts_with("GET") && !headers.contains("transfer-encoding") {
            request += &format!("content-length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += &body[..sent];
        let mut stream = TcpStream::connect(address)
            .await
            .expect("the server accepts");
        // The server may refuse before it has read all.
        stream.write_all(request.as_bytes()).await.ok();
        Self { stream }
    }

    /// Sends the rest of a body, as far as it is still read.
    pub async fn finish(mut self, rest: &str) -> Option<Answer> {
        self.stream.write_all(rest.as_bytes()).await.ok();
        self.answer().await
    }

    /// The server's response; nothing if it hangs up instead, or takes too long.
    pub async fn answer(mut self) -> Option<Answer> {
        let mut bytes = Vec::new();
        let read = timeout(LIMIT, self.stream.read_to_end(&mut bytes)).await;
        read.ok()?.ok();
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let chunked = head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked");
        let body = if chunked { join(body)? } else { body.into() };
        Some(Answer { status, body })
    }
}

/// Asks for an upgrade with these headers; the status, and what of the answer's headers decides
/// over the connection.
pub async fn request_upgrade(address: SocketAddr, query: &str, headers: &str) -> String {
    const TELLING: [&str; 4] = [
        "sec-websocket-accept",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
        "set-cookie",
    ];
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the server accepts");
    let headers = headers.replace('\n', "\r\n");
    let head = format!("GET /socket.io/?{query} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok();
    let mut bytes = Vec::new();
    let answered = async {
        while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                break;
            }
        }
    };
    timeout(LIMIT, answered).await.ok();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut told = vec![status.unwrap_or("no answer").to_owned()];
    let fields = lines.filter_map(|line| line.split_once(':'));
    for (name, value) in fields {
        let name = name.to_ascii_lowercase();
        if TELLING.contains(&name.as_str()) {
            told.push(format!("{name}: {}", value.trim()));
        }
    }
    told[1..].sort();
    told.join(", ")
}

/// The content of a body in chunks.
fn join(mut chunks: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n")?;
        let length = usize::from_str_radix(length.trim(), 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body += rest.get(..length)?;
        chunks = rest.get(length + 2..)?;
    }
}

/// An open WebSocket.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
}

/// What comes over a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    Packet(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// A close frame, with its status if it has one.
    Closed(Option<u16>),
    /// The end of the connection without a close frame.
    Cut,
    /// Nothing within the limit.
    Silence,
}

impl Socket {
    /// Opens a WebSocket; the server's answer if it refuses, or nothing if it hangs up.
    pub async fn open(
        address: SocketAddr,
        query: &str,
        authorization: Option<&str>,
    ) -> Result<Self, Option<Answer>> {
        let stream = TcpStream::connect(address)
            .await
            .expect("the server accepts");
        let url = format!("ws://{address}/socket.io/?{query}");
        let mut request = url.into_client_request().expect("an address");
        if let Some(value) = authorization {
            let value = value.parse().expect("a header");
            request.headers_mut().insert("authorization", value);
        }
        let opened = timeout(LIMIT, client_async(request, stream)).await;
        match opened.map_err(|_| None)? {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(tungstenite::Error::Http(answer)) => Err(Some(Answer {
                status: answer.status().as_u16(),
                body: String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into(),
            })),
            Err(_) => Err(None),
        }
    }

    /// Sends what may no longer be read.
    pub async fn send(&mut self, message: Message) {
        self.send_all(vec![message]).await;
    }

    /// Sends bytes as they are, between two messages.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.ok();
    }

    /// Sends messages that the server finds in one read.
    pub async fn send_all(&mut self, messages: Vec<Message>) {
        for message in messages {
            self.stream.feed(message).await.ok();
        }
        self.stream.flush().await.ok();
    }

    pub async fn next(&mut self) -> Came {
        let message = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Text(text))) => return Came::Packet(text.to_string()),
                    Some(Ok(Message::Binary(bytes))) => return Came::Binary(bytes.to_vec()),
                    Some(Ok(Message::Pong(bytes))) => return Came::Pong(bytes.to_vec()),
                    Some(Ok(Message::Close(frame))) => {
                        return Came::Closed(frame.map(|frame| frame.code.into()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Came::Cut,
                }
            }
        };
        timeout(LIMIT, message).await.unwrap_or(Came::Silence)
    }

    /// Says that nothing more will be sent, and reads on.
    pub async fn half_close(&mut self) {
        self.stream.get_mut().shutdown().await.ok();
    }
}
