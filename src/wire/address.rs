//! Where a node or another server is.

use url::{Host, Url};

/// The path in the address of a node that listens on a unix socket, such as
/// `unix:/run/sockd/internal.sock` or `unix:///run/sockd/internal.sock`.
pub fn unix_path(address: &str) -> Option<&str> {
    let path = address.strip_prefix("unix:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.is_empty()).then_some(path)
}

/// Whether the URL's host is a loopback address or `localhost`: no proxy could reach it, and nobody can
/// listen on the way.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_recognised() {
        for (url, expected) in [
            ("http://127.3.2.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://LOCALHOST", true),
            ("http://10.0.0.1", false),
            ("http://[::ffff:127.0.0.1]", false),
            ("https://127.0.0.1.example.com", false),
            ("http://127.example.org", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
