//! Where the internal routes are served, if not on the clients' port.

use std::{fmt, net::IpAddr, path::PathBuf};

use super::kinds::is_host;
use crate::wire::unix_path;

/// Where the internal routes, health and metrics are served apart from the clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InternalListener {
    Tcp { host: String, port: u16 },
    Unix(UnixSocket),
}

/// The files of a listener that speaks TLS, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The section of the settings that name them.
    pub section: &'static str,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The authority that must have issued the certificates of peers; `None` requires none.
    pub client_authority: Option<PathBuf>,
}

/// The files with which commands, and sockd as a client of Redis, speak TLS, all in PEM.
#[derive(Debug, Clone, Default)]
pub struct ClientTls {
    /// The certificate authorities to trust.
    pub authorities: Option<PathBuf>,
    /// The certificate to show, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A unix socket and who may connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSocket {
    pub path: PathBuf,
    /// The permission bits of its file.
    pub mode: u32,
    /// The name or number of its group; `None` leaves that of the process.
    pub group: Option<String>,
}

impl fmt::Display for InternalListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => f.write_str(&host_and_port(host, *port)),
            Self::Unix(UnixSocket { path, .. }) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads `127.0.0.1:3001`, `[::1]:3001`, `localhost:3001` or `unix:/run/sockd/internal.sock`; who may
/// connect to a unix socket is decided by other settings.
pub(super) fn parse(text: &str) -> Option<InternalListener> {
    if let Some(path) = unix_path(text) {
        let is_path = !path.chars().any(char::is_control);
        let socket = || UnixSocket {
            path: path.into(),
            mode: 0,
            group: None,
        };
        return is_path.then(socket).map(InternalListener::Unix);
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|ip| is_ipv6(ip))?,
        // Without brackets, the end of an IPv6 address looks like a port.
        None => Some(host).filter(|host| !host.is_empty() && !is_ipv6(host) && is_host(host))?,
    };
    Some(InternalListener::Tcp {
        host: host.to_owned(),
        port,
    })
}

/// Reads the permission bits of a file, in octal as `chmod` takes them. The owner must be able to
/// connect.
pub(super) fn parse_mode(text: &str) -> Option<u32> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal)?;
    (mode <= 0o777 && mode & 0o600 == 0o600).then_some(mode)
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn host_and_port(host: &str, port: u16) -> String {
    if is_ipv6(host) {
        return format!("[{host}]:{port}");
    }
    format!("{host}:{port}")
}

fn is_ipv6(host: &str) -> bool {
    host.parse().is_ok_and(|ip: IpAddr| ip.is_ipv6())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_sockets_are_told_apart() {
        let tcp = |host: &str, port| {
            let host = host.to_owned();
            Some(InternalListener::Tcp { host, port })
        };
        let unix = |path: &str| {
            Some(InternalListener::Unix(UnixSocket {
                path: path.into(),
                mode: 0,
                group: None,
            }))
        };
        for (text, expected, shown) in [
            ("127.0.0.1:3001", tcp("127.0.0.1", 3001), "127.0.0.1:3001"),
            ("localhost:0", tcp("localhost", 0), "localhost:0"),
            ("[::1]:3001", tcp("::1", 3001), "[::1]:3001"),
            ("[::]:80", tcp("::", 80), "[::]:80"),
            ("unix:/run/s.sock", unix("/run/s.sock"), "unix:/run/s.sock"),
            (
                "unix:///run/s.sock",
                unix("/run/s.sock"),
                "unix:/run/s.sock",
            ),
            ("unix:s.sock", unix("s.sock"), "unix:s.sock"),
        ] {
            let parsed = parse(text);
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(
                parsed.map(|listen| listen.to_string()),
                Some(shown.to_owned())
            );
        }
        for text in [
            "",
            "3001",
            ":3001",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:70000",
            "::1",
            "::1:3001",
            "[::1]",
            "[127.0.0.1]:1",
            "[localhost]:1",
            "http://127.0.0.1:3001",
            "user@host:1",
            "/run/s.sock",
            "unix:",
            "unix://",
            "unix:a\nb",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_mode_is_octal_and_lets_the_owner_in() {
        for (text, expected) in [
            ("0660", Some(0o660)),
            ("600", Some(0o600)),
            ("0777", Some(0o777)),
            ("0060", None),
            ("0400", None),
            ("1660", None),
            ("0680", None),
            ("+660", None),
            ("66", None),
            ("rw-", None),
            ("00660", None),
        ] {
            assert_eq!(parse_mode(text), expected, "{text}");
        }
    }
}
