//! The header of the PROXY protocol, by which a proxy passes on where a connection comes from
//! (<https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt>).
//!
//! If it is configured, it is required. Not a byte after it is read, so the rest of the connection is read as
//! if there were no header.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, recv};
use thiserror::Error;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio_util::either::Either;

use super::Socket;

/// What each version begins with.
const VERSION_1: &[u8] = b"PROXY ";
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The shortest header of any version: `PROXY UNKNOWN` and the end of the line.
const SHORTEST: usize = 15;
/// The longest line of version 1.
const LONGEST_LINE: usize = 107;
/// The fixed part of version 2, which ends in the length of the rest.
const FIXED: usize = 16;

/// Why a connection has no valid header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProxyHeaderError {
    #[error("it began with something else")]
    Missing,
    #[error("the header was malformed")]
    Malformed,
    #[error("the header did not come in time")]
    Late,
}

impl ProxyHeaderError {
    pub const ALL: [Self; 3] = [Self::Missing, Self::Malformed, Self::Late];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Late => "late",
        }
    }
}

/// A header that is being read.
#[derive(Debug)]
pub(super) struct ProxyHeader {
    /// The bytes of the header so far, without those that are skipped.
    bytes: [u8; LONGEST_LINE],
    filled: usize,
    /// How many bytes are left to skip after the addresses.
    skip: Option<usize>,
}

/// What the bytes so far mean.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// At least this many more bytes belong to the header.
    Needs(usize),
    /// The rest of the line belongs to the header.
    NeedsLine,
    /// The addresses are complete; this many more bytes belong to the header.
    Done(Option<SocketAddr>, usize),
}

impl ProxyHeader {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; LONGEST_LINE],
            filled: 0,
            skip: None,
        }
    }

    /// Whether anything has come.
    pub(super) fn has_begun(&self) -> bool {
        self.filled > 0
    }

    /// Resolves when the header has come, with the address of the client if it has one. Without one, such as for
    /// a health check by the proxy itself, the connection counts as coming from the proxy. `Ok(Err(_))`: it is
    /// not a header.
    ///
    /// # Errors
    /// The stream failed, or ended (`UnexpectedEof`).
    pub(super) fn poll(
        &mut self,
        socket: &mut Socket,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Result<Option<SocketAddr>, ProxyHeaderError>>> {
        loop {
            let wanted = match parse(&self.bytes[..self.filled]) {
                Err(error) => return Poll::Ready(Ok(Err(error))),
                Ok(Parsed::Needs(wanted)) => wanted,
                Ok(Parsed::NeedsLine) => {
                    let mut ahead = [0; LONGEST_LINE];
                    let ahead = &mut ahead[self.filled..];
                    let came = ready!(poll_peek(socket, context, ahead))?;
                    let line = ahead[..came].iter().position(|byte| *byte == b'\n');
                    line.map_or(came, |end| end + 1)
                }
                Ok(Parsed::Done(source, rest)) => {
                    let skip = self.skip.get_or_insert(rest);
                    if *skip == 0 {
                        return Poll::Ready(Ok(Ok(source)));
                    }
                    let mut skipped = [0; 256];
                    let length = skipped.len().min(*skip);
                    *skip -= ready!(poll_read(socket, context, &mut skipped[..length]))?;
                    continue;
                }
            };
            let free = &mut self.bytes[self.filled..];
            let wanted = wanted.min(free.len());
            self.filled += ready!(poll_read(socket, context, &mut free[..wanted]))?;
        }
    }
}

/// Reads some bytes, at least one.
fn poll_read(
    socket: &mut Socket,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(socket).poll_read(context, &mut buffer))?;
    Poll::Ready(some(buffer.filled().len()))
}

/// Looks at what has come without taking it.
fn poll_peek(
    socket: &Socket,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        let (ready, file) = match socket {
            Either::Left(tcp) => (tcp.poll_read_ready(context), tcp.as_fd()),
            Either::Right(unix) => (unix.poll_read_ready(context), unix.as_fd()),
        };
        ready!(ready)?;
        let peek = || Ok(recv(file, &mut *buffer, RecvFlags::PEEK)?.0);
        let peeked = match socket {
            Either::Left(tcp) => tcp.try_io(Interest::READABLE, peek),
            Either::Right(unix) => unix.try_io(Interest::READABLE, peek),
        };
        match peeked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            peeked => return Poll::Ready(peeked.and_then(some)),
        }
    }
}

fn some(length: usize) -> io::Result<usize> {
    match length {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => Ok(length),
    }
}

fn parse(bytes: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    let begins = |signature: &[u8]| {
        let length = bytes.len().min(signature.len());
        bytes[..length] == signature[..length]
    };
    if !begins(VERSION_1) && !begins(VERSION_2) {
        return Err(ProxyHeaderError::Missing);
    }
    if bytes.len() < SHORTEST {
        return Ok(Parsed::Needs(SHORTEST - bytes.len()));
    }
    let parsed = if begins(VERSION_1) {
        parse_line(bytes)
    } else {
        parse_binary(bytes)
    };
    parsed.ok_or(ProxyHeaderError::Malformed)
}

/// Parses version 1; `None` if it is malformed.
fn parse_line(bytes: &[u8]) -> Option<Parsed> {
    let Some(line) = bytes.strip_suffix(b"\n") else {
        return (bytes.len() < LONGEST_LINE).then_some(Parsed::NeedsLine);
    };
    let line = str::from_utf8(line.strip_suffix(b"\r")?).ok()?;
    let mut words = line.split(' ').skip(1);
    let source = match words.next()? {
        // Anything may follow.
        "UNKNOWN" => return Some(Parsed::Done(None, 0)),
        "TCP4" => {
            let source: Ipv4Addr = words.next()?.parse().ok()?;
            words.next()?.parse::<Ipv4Addr>().ok()?;
            IpAddr::V4(source)
        }
        "TCP6" => {
            let source: Ipv6Addr = words.next()?.parse().ok()?;
            words.next()?.parse::<Ipv6Addr>().ok()?;
            IpAddr::V6(source)
        }
        _ => return None,
    };
    let port = parse_port(words.next()?)?;
    parse_port(words.next()?)?;
    let source = SocketAddr::new(source, port);
    words
        .next()
        .is_none()
        .then_some(Parsed::Done(Some(source), 0))
}

/// Digits without leading zeros.
fn parse_port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port.to_string() == text).then_some(port)
}

/// Parses version 2; `None` if it is malformed.
fn parse_binary(bytes: &[u8]) -> Option<Parsed> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Some(Parsed::Needs(FIXED - bytes.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let addresses = match (command, family) {
        // The proxy's own connection; the rest of the header has no meaning.
        (0x20, _) => 0,
        // TCP over IPv4 and IPv6: two addresses and two ports.
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        // Unspecified, UDP and unix sockets: the specification requires to use the address of the connection.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => 0,
        _ => return None,
    };
    let rest = length.checked_sub(addresses)?;
    let came = &bytes[FIXED..];
    if came.len() < addresses {
        return Some(Parsed::Needs(addresses - came.len()));
    }
    let port = |at: usize| u16::from_be_bytes([came[at], came[at + 1]]);
    let source: Option<(IpAddr, u16)> = match addresses {
        12 => came
            .first_chunk()
            .map(|ip: &[u8; 4]| ((*ip).into(), port(8))),
        36 => came
            .first_chunk()
            .map(|ip: &[u8; 16]| ((*ip).into(), port(32))),
        _ => None,
    };
    Some(Parsed::Done(source.map(SocketAddr::from), rest))
}

#[cfg(test)]
mod tests;
