//! The address of a client, and which proxies are trusted to report it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use crate::config::{self, ForwardedHeader};

/// The address of a client, and its port if that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// IPv4 even if the client came to an IPv6 listener.
    pub ip: IpAddr,
    port: Option<NonZeroU16>,
}

/// The proxies that are trusted to report where a client is.
#[derive(Debug, Clone)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    header: ForwardedHeader,
}

impl TrustedProxies {
    pub fn new(config: &config::Server) -> Self {
        Self {
            networks: config.trusted_proxies.clone().unwrap_or_default(),
            header: config.forwarded_header,
        }
    }

    /// Returns the address of a request's client: the hop nearest to sockd that is not a trusted proxy, starting
    /// from `peer`, where the connection comes from. A hop is only as credible as the one that reports it, so the
    /// header is read from its end, and not past a hop that cannot be parsed: the client then counts as being at
    /// the proxy that reported it.
    pub fn client(&self, peer: ClientAddress, headers: &HeaderMap) -> ClientAddress {
        let lines = headers.get_all(self.header.name()).into_iter().rev();
        let mut hops = lines.flat_map(|line| rsplit(line.as_bytes(), b','));
        let mut client = peer;
        while self.networks.iter().any(|net| net.contains(&client.ip)) {
            match hops.next().map(|hop| self.header.address(hop)) {
                Some(Some(hop)) => client = hop,
                Some(None) | None => break,
            }
        }
        client
    }
}

impl ForwardedHeader {
    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => header::FORWARDED,
        }
    }

    /// Parses what one proxy reports.
    fn address(self, hop: &[u8]) -> Option<ClientAddress> {
        match self {
            Self::XForwardedFor => node(hop.trim_ascii()),
            Self::Forwarded => {
                let mut pairs = rsplit(hop, b';').filter_map(|pair| {
                    let at = pair.iter().position(|byte| *byte == b'=')?;
                    let (name, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
                    name.eq_ignore_ascii_case(b"for").then_some(value)
                });
                let value = pairs.next()?;
                // At most once (RFC 7239, 4).
                if pairs.next().is_some() {
                    return None;
                }
                let quoted = value.strip_prefix(b"\"");
                node(quoted.map_or(Some(value), |rest| rest.strip_suffix(b"\""))?)
            }
        }
    }
}

/// Splits from the end, and not within quotes. What a client has put before the part of a trusted proxy, such as
/// an unclosed quote, cannot change how that part is read.
fn rsplit(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    let mut toggles = false;
    text.rsplit(move |byte| {
        // A quote after an odd number of backslashes is escaped.
        toggles = *byte == b'"' || (toggles && *byte == b'\\');
        is_quoted ^= toggles;
        *byte == separator && !is_quoted
    })
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`. Unknown and
/// obfuscated nodes (RFC 7239, 6) have no address.
fn node(text: &[u8]) -> Option<ClientAddress> {
    let text = str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.into());
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip: IpAddr = match bracketed {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None => text.parse().ok()?,
    };
    Some(SocketAddr::new(ip, 0).into())
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip().to_canonical(),
            port: NonZeroU16::new(address.port()),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port.get()).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The client that sockd sees behind a peer, in the notation of `Display`.
    fn seen(header: ForwardedHeader, peer: &str, lines: &[&[u8]]) -> String {
        let networks = ["10.0.0.0/8", "::1/128", "2001:db8:1::/48", "127.0.0.1/32"];
        let proxies = TrustedProxies {
            networks: networks.map(|net| net.parse().unwrap()).into(),
            header,
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = HeaderValue::from_bytes(line).unwrap();
            headers.append(header.name(), line);
        }
        // The other header is not read.
        for other in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            if other != header {
                headers.insert(other.name(), "for=9.9.9.9, 9.9.9.9".parse().unwrap());
            }
        }
        let peer: SocketAddr = peer.parse().unwrap();
        proxies.client(peer.into(), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_nearest_hop_that_is_not_trusted() {
        let seen = |peer, lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            seen(ForwardedHeader::XForwardedFor, peer, &lines)
        };
        for (peer, lines, expected) in [
            // A client that is not behind a proxy can say what it likes.
            ("192.0.2.1:7", &["198.51.100.1"][..], "192.0.2.1:7"),
            ("10.0.0.1:7", &[], "10.0.0.1:7"),
            ("10.0.0.1:7", &["198.51.100.1"], "198.51.100.1"),
            ("[::ffff:10.0.0.1]:7", &["198.51.100.1"], "198.51.100.1"),
            ("[::1]:7", &["198.51.100.1"], "198.51.100.1"),
            // What the client itself sent comes before what the proxy adds.
            ("10.0.0.1:7", &["8.8.8.8, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1:7", &["8.8.8.8", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1:7", &["10.9.9.9,198.51.100.1"], "198.51.100.1"),
            (
                "10.0.0.1:7",
                &["8.8.8.8, 198.51.100.1 , 10.0.0.2,10.0.0.3"],
                "198.51.100.1",
            ),
            // All are trusted: the farthest is the client.
            ("10.0.0.1:7", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1:7", &["198.51.100.1:4711"], "198.51.100.1:4711"),
            ("10.0.0.1:7", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1:7", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1:7", &["[2001:db8::1]:4711"], "[2001:db8::1]:4711"),
            (
                "[2001:db8:1::9]:7",
                &["::ffff:198.51.100.1"],
                "198.51.100.1",
            ),
        ] {
            assert_eq!(seen(peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_hop_that_cannot_be_parsed_is_never_skipped() {
        let lines: [&[u8]; 16] = [
            b"",
            b",",
            b"198.51.100.1,",
            b"198.51.100.1, unknown",
            b"198.51.100.1, _hidden",
            b"198.51.100.1, 10.0.0",
            b"198.51.100.1, 10.0.0.2.3",
            b"198.51.100.1, 10.0.0.2:",
            b"198.51.100.1, 10.0.0.2:65536",
            b"198.51.100.1, [10.0.0.2]",
            b"198.51.100.1, [::1",
            b"198.51.100.1, 10.0.0.2 10.0.0.3",
            b"198.51.100.1, \"10.0.0.2\"",
            b"198.51.100.1, 010.0.0.2",
            b"198.51.100.1, \xff",
            b"198.51.100.1, for=10.0.0.2",
        ];
        for line in lines {
            let client = seen(ForwardedHeader::XForwardedFor, "10.0.0.1:7", &[line]);
            assert_eq!(client, "10.0.0.1:7", "{}", line.escape_ascii());
        }
        // A hop behind a trusted one.
        let line = b"198.51.100.1, unknown, 10.0.0.2";
        let client = seen(ForwardedHeader::XForwardedFor, "10.0.0.1:7", &[line]);
        assert_eq!(client, "10.0.0.2");
    }

    #[test]
    fn forwarded_is_read_as_in_rfc_7239() {
        for (lines, expected) in [
            (&["for=198.51.100.1"][..], "198.51.100.1"),
            (
                &["For=\"198.51.100.1:4711\";proto=https;by=10.0.0.9"],
                "198.51.100.1:4711",
            ),
            (
                &["proto=https;host=\"a,b;for=9.9.9.9\"; for = 198.51.100.1"],
                "198.51.100.1",
            ),
            (&["for=\"[2001:db8::1]\""], "2001:db8::1"),
            (&["for=\"[2001:db8::1]:4711\""], "[2001:db8::1]:4711"),
            (
                &["for=8.8.8.8, for=198.51.100.1, for=10.0.0.2"],
                "198.51.100.1",
            ),
            (
                &["for=8.8.8.8", "for=198.51.100.1", "for=10.0.0.2"],
                "198.51.100.1",
            ),
            // A proxy that passes on what the client sent, with quotes in it.
            (
                &[r#"for=198.51.100.1;host="\",for=9.9.9.9;x=\"""#],
                "198.51.100.1",
            ),
            (
                &[r#"for=198.51.100.1;host="\";for=9.9.9.9;x=\"""#],
                "198.51.100.1",
            ),
            (&[r#"for=198.51.100.1;host="\"""#], "198.51.100.1"),
            (&[r#"for=198.51.100.1;host="a\\";by=_b"#], "198.51.100.1"),
            (&[r#"\", for=198.51.100.1"#], "198.51.100.1"),
            // Unclosed quotes of the client.
            (&["for=\", for=198.51.100.1"], "198.51.100.1"),
            (&["for=\"", "for=198.51.100.1"], "198.51.100.1"),
            (&["for=8.8.8.8, for=unknown"], "10.0.0.1:7"),
            (&["for=8.8.8.8, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            (&["for=8.8.8.8, proto=https"], "10.0.0.1:7"),
            (&["for=8.8.8.8, for=10.0.0.2;for=10.0.0.3"], "10.0.0.1:7"),
            (&["for=8.8.8.8, for=\"10.0.0.2"], "10.0.0.1:7"),
            (&["for=8.8.8.8, for=\"10.0.0.\\2\""], "10.0.0.1:7"),
            (&["8.8.8.8"], "10.0.0.1:7"),
            (&[""], "10.0.0.1:7"),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            let client = seen(ForwardedHeader::Forwarded, "10.0.0.1:7", &lines);
            assert_eq!(client, expected, "{lines:?}");
        }
    }
}
