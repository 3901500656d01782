use std::future::poll_fn;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::*;

fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [VERSION_2, &[command, family], &length, rest].concat()
}

fn tcp4(tlvs: usize) -> Vec<u8> {
    let addresses = [198, 51, 100, 1, 10, 0, 0, 1, 0x12, 0x67, 1, 187];
    version_2(0x21, 0x11, &[&addresses[..], &vec![7; tlvs]].concat())
}

fn tcp6() -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let rest = [&source.octets()[..], &[0; 16], &[0x12, 0x67, 1, 187]].concat();
    version_2(0x21, 0x21, &rest)
}

/// Sends a header in pieces of this length, and a request behind it.
async fn read(
    header: &[u8],
    piece: usize,
) -> io::Result<Result<Option<SocketAddr>, ProxyHeaderError>> {
    let (mut proxy, socket) = UnixStream::pair().unwrap();
    let sent = [header, b"GET / HTTP/1.1\r\n"].concat();
    let send = async move {
        for piece in sent.chunks(piece) {
            // This fails once the header is refused.
            proxy.write_all(piece).await.ok();
            tokio::task::yield_now().await;
        }
    };
    let mut socket = Either::Right(socket);
    let receive = async move {
        let mut header = ProxyHeader::new();
        let read = poll_fn(|context| header.poll(&mut socket, context)).await;
        if let Ok(Ok(_)) = read {
            let mut left = String::new();
            socket.read_to_string(&mut left).await.unwrap();
            assert_eq!(left, "GET / HTTP/1.1\r\n");
        }
        read
    };
    tokio::join!(send, receive).1
}

#[tokio::test]
async fn a_header_is_read_to_its_last_byte_and_no_further() {
    let longest = format!("PROXY UNKNOWN{}\r\n", " x".repeat(46));
    assert_eq!(longest.len(), LONGEST_LINE);
    for (header, expected) in [
        (
            b"PROXY TCP4 198.51.100.1 10.0.0.1 4711 443\r\n".to_vec(),
            Some("198.51.100.1:4711"),
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n".to_vec(),
            Some("[2001:db8::1]:4711"),
        ),
        (
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n".to_vec(),
            Some("255.255.255.255:65535"),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n".to_vec(), None),
        (longest.into_bytes(), None),
        (tcp4(0), Some("198.51.100.1:4711")),
        (tcp4(1), Some("198.51.100.1:4711")),
        (tcp4(65_535 - 12), Some("198.51.100.1:4711")),
        (tcp6(), Some("[2001:db8::1]:4711")),
        (version_2(0x20, 0x00, b""), None),
        (version_2(0x20, 0x11, &[1; 12]), None),
        (version_2(0x20, 0xff, b"anything"), None),
        (version_2(0x21, 0x00, b""), None),
        (version_2(0x21, 0x12, &[1; 12]), None),
        (version_2(0x21, 0x22, &[1; 36]), None),
        (version_2(0x21, 0x31, &[1; 216]), None),
    ] {
        let expected = expected.map(|text: &str| text.parse().unwrap());
        for piece in [1, 7, 16, header.len(), header.len() + 3] {
            let read = read(&header, piece).await.unwrap();
            assert_eq!(read, Ok(expected), "{} by {piece}", header.escape_ascii());
        }
    }
}

#[tokio::test]
async fn anything_else_is_refused_as_a_header() {
    let too_long = format!("PROXY UNKNOWN{}\r\n", " x".repeat(47));
    for (header, expected) in [
        (&b"GET /socket.io/"[..], ProxyHeaderError::Missing),
        (b"P", ProxyHeaderError::Missing),
        (
            b"PROXY\tTCP4 1.1.1.1 1.1.1.1 1 2\r\n",
            ProxyHeaderError::Missing,
        ),
        (
            b"proxy TCP4 1.1.1.1 1.1.1.1 1 2\r\n",
            ProxyHeaderError::Missing,
        ),
        (b"\r\n\r\n\0\r\nQUIT\r", ProxyHeaderError::Missing),
        (b"\x16\x03\x01\x02\0\x01\0", ProxyHeaderError::Missing),
        (
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 2\n",
            ProxyHeaderError::Malformed,
        ),
        (
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
            ProxyHeaderError::Malformed,
        ),
        (
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 2 3\r\n",
            ProxyHeaderError::Malformed,
        ),
        (
            b"PROXY TCP4  1.1.1.1 1.1.1.1 1 2\r\n",
            ProxyHeaderError::Malformed,
        ),
        (
            b"PROXY TCP4 1.1.1.1 1.1.1.1 01 2\r\n",
            ProxyHeaderError::Malformed,
        ),
        (
            b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 2\r\n",
            ProxyHeaderError::Malformed,
        ),
        (
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n",
            ProxyHeaderError::Malformed,
        ),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", ProxyHeaderError::Malformed),
        (
            b"PROXY TCP6 1.1.1.1 1.1.1.1 1 2\r\n",
            ProxyHeaderError::Malformed,
        ),
        (
            b"PROXY UNKNOWNS ::1 ::1 1 2\r\n",
            ProxyHeaderError::Malformed,
        ),
        (
            b"PROXY UDP4 1.1.1.1 1.1.1.1 1 2\r\n",
            ProxyHeaderError::Malformed,
        ),
        (too_long.as_bytes(), ProxyHeaderError::Malformed),
        (
            &version_2(0x11, 0x11, &[1; 12]),
            ProxyHeaderError::Malformed,
        ),
        (
            &version_2(0x22, 0x11, &[1; 12]),
            ProxyHeaderError::Malformed,
        ),
        (
            &version_2(0x21, 0x11, &[1; 11]),
            ProxyHeaderError::Malformed,
        ),
        (
            &version_2(0x21, 0x21, &[1; 35]),
            ProxyHeaderError::Malformed,
        ),
        (
            &version_2(0x21, 0x13, &[1; 12]),
            ProxyHeaderError::Malformed,
        ),
        (
            &version_2(0x21, 0x41, &[1; 12]),
            ProxyHeaderError::Malformed,
        ),
    ] {
        for piece in [1, header.len()] {
            let read = read(header, piece).await.unwrap();
            assert_eq!(read, Err(expected), "{} by {piece}", header.escape_ascii());
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_within_a_header_has_none() {
    for length in [0, 5, 16, 27, 30] {
        let (mut proxy, socket) = UnixStream::pair().unwrap();
        proxy.write_all(&tcp4(9)[..length]).await.unwrap();
        drop(proxy);
        let mut header = ProxyHeader::new();
        let mut socket = Either::Right(socket);
        let read = poll_fn(|context| header.poll(&mut socket, context)).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(header.has_begun(), length > 0);
    }
}
