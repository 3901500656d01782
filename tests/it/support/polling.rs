//! A Socket.IO client over HTTP long-polling that sees every packet as it is.

use std::{collections::VecDeque, net::SocketAddr};

use serde_json::Value;

use super::{PATIENCE, http, jwt, within};

/// A session that polls. Pings of the server are answered and not shown.
pub struct Polling {
    client: reqwest::Client,
    pub url: String,
    pub sid: String,
    ready: VecDeque<String>,
    answers_pings: bool,
}

impl Polling {
    /// Opens a session.
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, "", &[]).await
    }

    /// With more of a query (`&token=…`) and headers on the request that opens it.
    pub async fn open_with(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Self {
        let client = http::client();
        let url = format!("http://{address}/socket.io/?EIO=4&transport=polling");
        let mut request = client.get(format!("{url}{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("the server answers");
        assert_eq!(answer.status(), 200);
        let body = answer.text().await.expect("a body");
        let open: Value =
            serde_json::from_str(body.strip_prefix('0').expect("an open packet")).expect("JSON");
        let sid = open["sid"].as_str().expect("a session id").to_owned();
        Self {
            client,
            url: format!("{url}&sid={sid}"),
            sid,
            ready: VecDeque::new(),
            answers_pings: true,
        }
    }

    /// Opens a session and joins the namespace with the token of a user's session.
    pub async fn join(address: SocketAddr, user: &str, session: &str) -> Self {
        let mut polling = Self::open(address).await;
        assert_eq!(
            polling.connect(&jwt::token(user, session)).await.get(..10),
            Some("40{\"sid\":\"")
        );
        polling
    }

    /// Joins a server that may be away or refuse; returns why it failed.
    pub async fn try_join(address: SocketAddr, user: &str, session: &str) -> Result<Self, String> {
        let client = http::client();
        let url = format!("http://{address}/socket.io/?EIO=4&transport=polling");
        let text = |error: reqwest::Error| error.to_string();
        let answer = client.get(&url).send().await.map_err(text)?;
        let body = answer.text().await.map_err(text)?;
        let open: Value =
            serde_json::from_str(body.get(1..).unwrap_or_default()).map_err(|_| body.clone())?;
        let sid = open["sid"].as_str().ok_or(body.clone())?.to_owned();
        let mut polling = Self {
            client,
            url: format!("{url}&sid={sid}"),
            sid,
            ready: VecDeque::new(),
            answers_pings: true,
        };
        let connect = jwt::connect(&jwt::token(user, session));
        polling.try_post(connect).await.map_err(text)?;
        match polling.next().await? {
            packet if packet.starts_with("40") => Ok(polling),
            other => Err(other),
        }
    }

    /// Sends a CONNECT with the token in its payload; returns the response.
    pub async fn connect(&mut self, token: &str) -> String {
        self.send(&jwt::connect(token)).await;
        self.packet().await
    }

    /// From now on pings come as packets and stay unanswered.
    pub fn ignore_pings(&mut self) {
        self.answers_pings = false;
    }

    /// Posts packets; the server takes them with `ok`.
    pub async fn send(&self, packets: &str) {
        let answer = self.post(packets.to_owned()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.expect("a body"), "ok");
    }

    pub async fn post(&self, packets: String) -> reqwest::Response {
        self.try_post(packets).await.expect("the server answers")
    }

    async fn try_post(&self, packets: String) -> reqwest::Result<reqwest::Response> {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "text/plain;charset=UTF-8");
        request.body(packets).send().await
    }

    /// One poll, as it returns.
    pub async fn poll(&self) -> reqwest::Response {
        self.try_poll().await.expect("the server answers")
    }

    async fn try_poll(&self) -> reqwest::Result<reqwest::Response> {
        let poll = self.client.get(&self.url).send();
        within(2 * PATIENCE, "an answer to a poll", poll).await
    }

    /// Whether the server still has the session; a look that does not touch it.
    pub async fn is_known(&self) -> bool {
        // Refused either way, and the refusal says which.
        let look = self.url.replace("transport=polling", "transport=websocket");
        let answer = self.client.get(look).send().await;
        let body = answer.expect("the server answers").text().await;
        !body.expect("a body").contains("Session ID unknown")
    }

    /// The packets of the last poll that were not read yet.
    pub fn left_over(&mut self) -> Vec<String> {
        let packets = self.ready.drain(..);
        packets
            .filter(|packet| !["", "2", "6"].contains(&packet.as_str()))
            .collect()
    }

    /// The next packet, over as many polls as it takes.
    pub async fn packet(&mut self) -> String {
        self.next()
            .await
            .unwrap_or_else(|status| panic!("expected a packet, got {status}"))
    }

    /// The next packet, or the error of the poll once the session is over.
    pub async fn next(&mut self) -> Result<String, String> {
        let text = |error: reqwest::Error| error.to_string();
        loop {
            match self.ready.pop_front() {
                Some(packet) if packet == "2" && self.answers_pings => {
                    self.try_post("3".to_owned()).await.map_err(text)?;
                }
                Some(packet) if packet == "6" || packet.is_empty() => {}
                Some(packet) => return Ok(packet),
                None => {
                    let answer = self.try_poll().await.map_err(text)?;
                    let status = answer.status();
                    let body = answer.text().await.map_err(text)?;
                    if status != 200 {
                        return Err(format!("{status} {body}"));
                    }
                    self.ready.extend(body.split('\u{1e}').map(str::to_owned));
                }
            }
        }
    }
}
