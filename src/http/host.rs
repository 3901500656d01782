//! The host that a request names.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, Request, Version, header, uri::Authority};

use crate::wire::ErrorCode;

/// Refuses a request that names no host, or more than one (RFC 9112, 3.2), and with `only_local` one
/// that names a host other than this machine. A page of another site can make its own name resolve to
/// this machine (DNS rebinding), but it cannot use the name `localhost`.
///
/// # Errors
/// Why it is refused.
pub(super) fn check<B>(request: &Request<B>, only_local: bool) -> Result<(), ErrorCode> {
    let header = header(request.headers(), request.version())?;
    if only_local {
        let named: Vec<_> = [request.uri().authority(), header.as_ref()]
            .into_iter()
            .flatten()
            .collect();
        let is_local = named.iter().all(|authority| is_local(authority));
        if named.is_empty() || !is_local {
            return Err(ErrorCode::LocalOnly);
        }
    }
    Ok(())
}

/// The value of `Host`. It may be empty, and was not yet required by HTTP/1.0.
fn header(headers: &HeaderMap, version: Version) -> Result<Option<Authority>, ErrorCode> {
    let mut lines = headers.get_all(header::HOST).iter();
    let line = match (lines.next(), lines.next()) {
        (Some(line), None) if line.is_empty() => return Ok(None),
        (Some(line), None) => line,
        (None, _) if version < Version::HTTP_11 => return Ok(None),
        _ => return Err(ErrorCode::InvalidHost),
    };
    let authority = Authority::try_from(line.as_bytes()).ok();
    authority
        .filter(is_host_and_port)
        .map(Some)
        .ok_or(ErrorCode::InvalidHost)
}

fn is_host_and_port(authority: &Authority) -> bool {
    let port = authority.as_str().strip_prefix(authority.host());
    port.is_some_and(|port| {
        port.is_empty()
            || port
                .strip_prefix(':')
                .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// Whether a host is `localhost` or a loopback address, with any port and in the spellings that
/// browsers send.
fn is_local(authority: &Authority) -> bool {
    // The user name before the host may look like a host.
    if !is_host_and_port(authority) {
        return false;
    }
    let host = authority.host();
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or_default();
        return address
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(target: &str, version: Version, hosts: &[&str]) -> Result<(), ErrorCode> {
        let request = Request::builder().version(version).uri(target);
        let request = hosts
            .iter()
            .fold(request, |request, host| request.header("host", *host));
        check(&request.body(()).unwrap(), true)
    }

    #[test]
    fn this_machine_is_told_from_others_in_every_spelling() {
        for host in [
            "localhost",
            "LocalHost",
            "localhost.",
            "localhost:3000",
            "localhost:",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1.",
            "127.3.2.1",
            "[::1]",
            "[::1]:3000",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(judge("/", Version::HTTP_11, &[host]), Ok(()), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "localhost..",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "127.0.0.1.evil.example:3000",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::2]",
            "[::ffff:10.0.0.1]",
            "127.1",
            "2130706433",
        ] {
            let judged = judge("/", Version::HTTP_11, &[host]);
            assert_eq!(judged, Err(ErrorCode::LocalOnly), "{host}");
        }
    }

    #[test]
    fn a_target_with_a_host_counts_as_much_as_the_header() {
        for (target, hosts, expected) in [
            ("http://localhost/", &["127.0.0.1"][..], Ok(())),
            (
                "http://evil.example/",
                &["localhost"],
                Err(ErrorCode::LocalOnly),
            ),
            (
                "http://localhost/",
                &["evil.example"],
                Err(ErrorCode::LocalOnly),
            ),
            (
                "http://localhost@evil.example/",
                &["localhost"],
                Err(ErrorCode::LocalOnly),
            ),
            (
                "http://evil@localhost/",
                &["localhost"],
                Err(ErrorCode::LocalOnly),
            ),
            ("http://localhost/", &[], Ok(())),
            ("/", &[], Err(ErrorCode::LocalOnly)),
        ] {
            assert_eq!(
                judge(target, Version::HTTP_10, hosts),
                expected,
                "{target} {hosts:?}"
            );
        }
    }

    #[test]
    fn a_request_names_one_host() {
        for (version, hosts, is_fine) in [
            (Version::HTTP_11, &[][..], false),
            (Version::HTTP_10, &[], true),
            (Version::HTTP_11, &["a", "a"], false),
            (Version::HTTP_11, &["", "a"], false),
            (Version::HTTP_10, &["a", "b"], false),
            (Version::HTTP_11, &[""], true),
            (Version::HTTP_11, &["push_1.example:80"], true),
            (Version::HTTP_11, &["[fe80::1]:80"], true),
            (Version::HTTP_11, &["a b"], false),
            (Version::HTTP_11, &["a/b"], false),
            (Version::HTTP_11, &["user@a"], false),
            (Version::HTTP_11, &["a:b"], false),
            (Version::HTTP_11, &["::1"], false),
            (Version::HTTP_11, &["a?b"], false),
        ] {
            let request = Request::builder().version(version).uri("/");
            let request = hosts
                .iter()
                .fold(request, |request, host| request.header("host", *host));
            let judged = check(&request.body(()).unwrap(), false);
            assert_eq!(judged.is_ok(), is_fine, "{version:?} {hosts:?}");
        }
    }
}
