//! A Socket.IO client over WebSocket: joins the namespace `/`, and reads events.

use std::{io, time::Duration};

use futures_util::{SinkExt, StreamExt};
use http::{StatusCode, header};
use reqwest::{Upgraded, Url};
use serde_json::json;
use thiserror::Error;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tungstenite::{
    Message,
    handshake::{client::generate_key, derive_accept_key},
    protocol::{Role, WebSocketConfig},
};

use super::packet::{Event, Packet};
use crate::{
    client::{Relay, Tls, Way, is_tls_error},
    secret::Secret,
};

/// How long it may take to join; the stock client's own default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a good end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The first and the longest wait before another attempt; the stock client's own defaults.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LAST_DELAY: Duration = Duration::from_secs(5);

/// Why there is no socket, or no longer. The text never contains the token.
#[derive(Debug, Error)]
pub(super) enum SocketError {
    #[error(
        "{0:?} is not an address that clients connect to; give one such as http://127.0.0.1:3000 with --url"
    )]
    Url(String),
    #[error(
        "failed to set up the HTTP client; check that the system's CA certificates are installed"
    )]
    Setup(#[source] reqwest::Error),
    #[error(
        "connections cannot begin with a PROXY protocol header on this system; listen from Linux, or where none is demanded"
    )]
    Relay(#[source] io::Error),
    #[error("no answer from {url}; start sockd there, or give another address with --url")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "no TLS connection with {url}; name its authority in internal.command_ca_file, or a host that its certificate is for with --url"
    )]
    Untrusted {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{url} did not let the socket join within {CONNECT_TIMEOUT:?}")]
    TimedOut { url: String },
    #[error("{url} takes no connections now (status {status})")]
    Overloaded { url: String, status: u16 },
    #[error(
        "{url} answers {status}, but not as Socket.IO does; give the address that clients connect to with --url"
    )]
    NoSocketIo { url: String, status: u16 },
    #[error("{url} refuses the socket with {reason}{}", remedy(.reason))]
    Refused { url: String, reason: String },
    #[error("the server has disconnected the socket, and clients do not come back after that")]
    Disconnected,
    #[error("the connection was lost")]
    Lost(#[source] Box<tungstenite::Error>),
    #[error("the server has closed the connection")]
    Closed,
    #[error("the server has been silent for {0:?}")]
    Silent(Duration),
    #[error("the server does not speak Socket.IO; check the address of --url")]
    Unintelligible(#[source] Option<serde_json::Error>),
}

impl SocketError {
    /// Whether a stock client would try again.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::TimedOut { .. }
            | Self::Overloaded { .. }
            | Self::Lost(_)
            | Self::Closed
            | Self::Silent(_) => true,
            Self::Url(_)
            | Self::Setup(_)
            | Self::Relay(_)
            | Self::NoSocketIo { .. }
            | Self::Refused { .. }
            | Self::Disconnected
            | Self::Unintelligible(_) => false,
        }
    }
}

/// What to do about a refusal.
fn remedy(reason: &str) -> &'static str {
    match reason {
        "TOKEN_INVALID" => {
            ": the server has another secret, or the token has expired; `sockd token check` says why"
        }
        "SESSION_MISMATCH" => {
            ": another session is the user's active one; leave out --session and --new-session to join as it"
        }
        "AUTH_UNAVAILABLE" => ": it cannot reach Redis or has no key set; its /readyz says why",
        "TOO_MANY_SOCKETS" => ": the user has limits.sockets_per_user sockets there",
        _ => "",
    }
}

/// Opens sockets at one address.
pub(super) struct Dialer {
    /// For messages.
    shown: String,
    endpoint: Url,
    http: reqwest::Client,
    /// What `http` connects to, if not to the server.
    _relay: Option<Relay>,
}

impl Dialer {
    /// # Errors
    /// A URL that is not plain http or https.
    pub(super) fn new(url: &str, way: Way, tls: &Tls) -> Result<Self, SocketError> {
        let parsed = Url::parse(url.trim()).ok().filter(|url| {
            let is_plain = url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none();
            let is_web = matches!(url.scheme(), "http" | "https");
            is_plain && is_web && url.port() != Some(0)
        });
        let Some(mut endpoint) = parsed else {
            // The text before an @ may be a password.
            let shown = url.rsplit('@').next().unwrap_or_default();
            return Err(SocketError::Url(shown.to_owned()));
        };
        let shown = endpoint.as_str().trim_end_matches('/').to_owned();
        let folder = endpoint.path().trim_end_matches('/').to_owned();
        endpoint.set_path(&format!("{folder}/socket.io/"));
        endpoint.set_query(Some("EIO=4&transport=websocket"));
        let mut client = way.client(&endpoint, tls);
        let mut relay = None;
        if way == Way::WithProxyHeader {
            let started = Relay::start(&endpoint, None).map_err(SocketError::Relay)?;
            client = client.unix_socket(started.socket());
            relay = Some(started);
        }
        let http = client.build().map_err(SocketError::Setup)?;
        Ok(Self {
            shown,
            endpoint,
            http,
            _relay: relay,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.shown
    }

    /// Opens a socket that has joined with this token.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub(super) async fn connect(&self, token: &Secret) -> Result<Socket, SocketError> {
        let joined = timeout(CONNECT_TIMEOUT, async {
            let mut socket = Socket {
                stream: self.open().await?,
                patience: CONNECT_TIMEOUT,
            };
            self.join(&mut socket, token).await?;
            Ok(socket)
        });
        joined.await.unwrap_or_else(|_| {
            let url = self.shown.clone();
            Err(SocketError::TimedOut { url })
        })
    }

    /// Opens a WebSocket (RFC 6455, 4.1) by the HTTP client, which knows TLS and proxies.
    async fn open(&self) -> Result<WebSocketStream<Upgraded>, SocketError> {
        let unreachable = |source: reqwest::Error| {
            let (url, source) = (self.shown.clone(), source.without_url());
            if is_tls_error(&source) {
                SocketError::Untrusted { url, source }
            } else {
                SocketError::Unreachable { url, source }
            }
        };
        let key = generate_key();
        let request = self
            .http
            .get(self.endpoint.clone())
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key);
        let response = request.send().await.map_err(unreachable)?;
        let (url, status) = (self.shown.clone(), response.status());
        let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        let is_accepted = accept.is_some_and(|accept| *accept == derive_accept_key(key.as_bytes()));
        if status.is_server_error() {
            let status = status.as_u16();
            return Err(SocketError::Overloaded { url, status });
        }
        if status != StatusCode::SWITCHING_PROTOCOLS || !is_accepted {
            let status = status.as_u16();
            return Err(SocketError::NoSocketIo { url, status });
        }
        let upgraded = response.upgrade().await.map_err(unreachable)?;
        // internal.max_body decides how long an event can be.
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
    }

    async fn join(&self, socket: &mut Socket, token: &Secret) -> Result<(), SocketError> {
        match socket.packet().await? {
            Packet::Open(patience) => socket.patience = patience,
            _ => return Err(SocketError::Unintelligible(None)),
        }
        let auth = json!({ "token": token.expose() });
        socket.send(format!("40{auth}")).await?;
        loop {
            match socket.packet().await? {
                Packet::Connected => return Ok(()),
                Packet::Refused(reason) => {
                    let url = self.shown.clone();
                    return Err(SocketError::Refused { url, reason });
                }
                _ => {}
            }
        }
    }
}

/// A socket that has joined.
pub(super) struct Socket {
    stream: WebSocketStream<Upgraded>,
    /// How long the server is silent at most while it lives.
    patience: Duration,
}

impl Socket {
    /// The next event.
    ///
    /// # Errors
    /// Why there are no more packets; see [`SocketError`].
    pub(super) async fn next(&mut self) -> Result<Event, SocketError> {
        loop {
            match self.packet().await? {
                Packet::Event(event) => return Ok(event),
                Packet::Disconnected => return Err(SocketError::Disconnected),
                _ => {}
            }
        }
    }

    /// Leaves and closes the connection, as a client does that is done.
    pub(super) async fn close(mut self) {
        let close = async {
            self.send("41".to_owned()).await.ok();
            self.stream.close(None).await.ok();
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        timeout(CLOSE_TIMEOUT, close).await.ok();
    }

    /// The next packet; answers pings.
    async fn packet(&mut self) -> Result<Packet, SocketError> {
        loop {
            let message = timeout(self.patience, self.stream.next()).await;
            let message = message.map_err(|_| SocketError::Silent(self.patience))?;
            let text = match message {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_))) | None => return Err(SocketError::Closed),
                // The frame's own pings are answered by the library.
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(SocketError::Lost(Box::new(error))),
            };
            let packet = Packet::parse(&text);
            match packet.map_err(|error| SocketError::Unintelligible(Some(error)))? {
                Packet::Ping => self.send("3".to_owned()).await?,
                packet => return Ok(packet),
            }
        }
    }

    async fn send(&mut self, packet: String) -> Result<(), SocketError> {
        let sent = self.stream.send(Message::text(packet)).await;
        sent.map_err(|error| SocketError::Lost(Box::new(error)))
    }
}

/// How long the stock client waits before an attempt: twice as long each time, half of it more or
/// less, so that clients do not all return at once.
pub(super) fn backoff(attempts: u32, random: [u8; 32]) -> Duration {
    let share = f64::from(random[0]) / f64::from(u8::MAX) + 0.5;
    let delay = FIRST_DELAY * 2_u32.saturating_pow(attempts.min(10));
    delay.mul_f64(share).min(LAST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_as_far_apart_as_those_of_a_stock_client() {
        let range = |attempts| [0, u8::MAX].map(|byte| backoff(attempts, [byte; 32]).as_millis());
        assert_eq!(range(0), [500, 1_500]);
        assert_eq!(range(1), [1_000, 3_000]);
        assert_eq!(range(2), [2_000, 5_000]);
        assert_eq!(range(u32::MAX), [5_000, 5_000]);
    }

    #[test]
    fn the_endpoint_is_below_the_path_of_the_url() {
        let endpoint = |url| {
            Dialer::new(url, Way::Direct, &Tls::default()).map(|dialer| dialer.endpoint.to_string())
        };
        let query = "?EIO=4&transport=websocket";
        for (url, expected) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000/socket.io/"),
            ("https://h/push/", "https://h/push/socket.io/"),
        ] {
            assert_eq!(endpoint(url).unwrap(), format!("{expected}{query}"));
        }
        for url in [
            "",
            "h:1",
            "ws://h",
            "unix:/run/s.sock",
            "http://h:0",
            "http://h/?a",
        ] {
            assert!(matches!(endpoint(url), Err(SocketError::Url(_))), "{url}");
        }
        let error = endpoint("http://user:hunter2@h").unwrap_err().to_string();
        assert!(
            error.contains("--url") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
