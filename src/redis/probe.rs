//! Finds out what listens at an address where connecting to Redis failed.
//!
//! A server that rejects a client often writes the reason and closes without reading the request.
//! The kernel then resets the connection and discards the reason, so this reads before it writes.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use url::Url;

use super::refusal::Refusal;

/// How long to read before writing; a server that speaks first does so immediately.
const GREETING: Duration = Duration::from_millis(200);
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
/// How many characters of a response to show.
const LONGEST: usize = 64;

/// Returns what the server at the URL says, and the refusal that it means; `None` if that explains
/// nothing or takes longer than the limit.
pub(super) async fn identify(url: &str, limit: Duration) -> Option<(String, Refusal)> {
    let url = Url::parse(url).ok()?;
    let is_tls = url.scheme() == "rediss";
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let port = url.port()?;
    let heard = timeout(limit, listen_and_ask(&host, port)).await;
    explain(&heard.ok()??, is_tls)
}

/// Returns the start of what the server sends on its own, or in response to PING.
async fn listen_and_ask(host: &str, port: u16) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect((host, port)).await.ok()?;
    let mut heard = [0; 512];
    let read = match timeout(GREETING, stream.read(&mut heard)).await {
        Ok(read) => read.ok()?,
        Err(_) => {
            stream.write_all(PING).await.ok()?;
            stream.read(&mut heard).await.ok()?
        }
    };
    Some(heard[..read].to_vec())
}

fn explain(heard: &[u8], is_tls: bool) -> Option<(String, Refusal)> {
    // A TLS record: an alert, or part of a handshake (RFC 8446, section 5.1).
    if matches!(heard, [0x15 | 0x16, 3, ..]) {
        let refusal = (!is_tls).then_some(Refusal::TlsOnly)?;
        return Some(("it speaks TLS".to_owned(), refusal));
    }
    let text = String::from_utf8_lossy(heard);
    let line = text.lines().next().filter(|line| !line.is_empty())?;
    let line: String = line.chars().take(LONGEST).collect();
    if let Some(error) = line.strip_prefix('-') {
        for (sign, refusal) in [
            ("max number of clients", Refusal::TooManyClients),
            ("protected mode", Refusal::Protected),
        ] {
            if error.contains(sign) {
                return Some((error.to_owned(), refusal));
            }
        }
    }
    let is_redis = line == "+PONG" || line.starts_with('-');
    if is_redis && is_tls {
        return Some(("it answers without TLS".to_owned(), Refusal::NotTls));
    }
    if is_redis {
        let said = "it answers PING but closes the connection at HELLO".to_owned();
        return Some((said, Refusal::HungUpAtHello));
    }
    let what = match line.split(['/', '-']).next() {
        Some("HTTP") => "an HTTP server",
        Some("SSH") => "an SSH server",
        _ => "something other than Redis",
    };
    let said = format!("{what} answers: {line:?}");
    Some((said, Refusal::NotRedis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_server_is_recognised() {
        let some = |said: &str, refusal| Some((said.to_owned(), refusal));
        for (heard, is_tls, expected) in [
            (
                &b"-ERR max number of clients reached\r\n"[..],
                false,
                some("ERR max number of clients reached", Refusal::TooManyClients),
            ),
            (
                b"-DENIED Redis is running in protected mode because protected mode is enabled and no",
                false,
                some(
                    "DENIED Redis is running in protected mode because protected mod",
                    Refusal::Protected,
                ),
            ),
            (
                b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n",
                false,
                some(
                    "an HTTP server answers: \"HTTP/1.1 400 Bad Request\"",
                    Refusal::NotRedis,
                ),
            ),
            (
                b"SSH-2.0-OpenSSH_9.6\r\n",
                true,
                some(
                    "an SSH server answers: \"SSH-2.0-OpenSSH_9.6\"",
                    Refusal::NotRedis,
                ),
            ),
            (
                b"220 mail ESMTP\r\n",
                false,
                some("something other than Redis answers: \"220 mail ESMTP\"", Refusal::NotRedis),
            ),
            (
                b"J\0\0\0\n8.0\x1b[31m",
                false,
                some("something other than Redis answers: \"J\\0\\0\\0\"", Refusal::NotRedis),
            ),
            (
                b"\x15\x03\x01\0\x02\x02\x46",
                false,
                some("it speaks TLS", Refusal::TlsOnly),
            ),
            (b"\x15\x03\x01\0\x02\x02\x46", true, None),
            (
                b"+PONG\r\n",
                true,
                some("it answers without TLS", Refusal::NotTls),
            ),
            (
                b"-NOAUTH Authentication required.\r\n",
                false,
                some("it answers PING but closes the connection at HELLO", Refusal::HungUpAtHello),
            ),
            (b"", false, None),
            (b"\r\n", false, None),
        ] {
            assert_eq!(explain(heard, is_tls), expected, "{heard:?} {is_tls}");
        }
    }
}
