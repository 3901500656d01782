//! A stream against a rustls client, with reads, writes and the wire cut at random, and every way to end a
//! connection.

use std::{
    future::poll_fn,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream as ClientSocket,
    time::Duration,
};

use arbtest::{
    arbitrary::{Result, Unstructured},
    arbtest,
};
use rustls::ClientConnection;
use tokio::{net::UnixStream, runtime, task::yield_now, time::timeout};

use super::{
    tests::{client_config, server_config},
    *,
};

/// The most bytes that each side sends.
const LONGEST: usize = 200_000;

#[test]
fn each_side_reads_what_the_other_writes_and_how_it_ended() {
    let seconds = std::env::var("SOCKD_FUZZ_SECONDS").map_or(10, |seconds| {
        seconds.parse().expect("SOCKD_FUZZ_SECONDS is a number")
    });
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    arbtest(|random| {
        let story = async { timeout(Duration::from_secs(60), story(random)).await };
        runtime.block_on(story).expect("it comes to an end")
    })
    .budget(Duration::from_secs(seconds));
}

/// How one side has ended, or how the other has seen that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By an alert, as TLS requires.
    Closed,
    /// Without an alert, and perhaps in the middle of a record or of the handshake.
    Truncated,
    /// A record was tampered with.
    Violated,
}

struct Client {
    session: ClientConnection,
    socket: ClientSocket,
    /// Encrypted, and not sent yet.
    unsent: Vec<u8>,
    written: usize,
    is_shut_down: bool,
    received: Vec<u8>,
    /// How the server has ended.
    end: Option<End>,
}

struct Server {
    stream: TlsStream,
    written: usize,
    received: Vec<u8>,
    /// How the client has ended.
    end: Option<End>,
}

async fn story(random: &mut Unstructured<'_>) -> Result<()> {
    let said: Vec<u8> = (0..LONGEST).map(|number| (number * 7 / 3) as u8).collect();
    let (mut client, mut server) = pair(random)?;
    for _ in 0..random.int_in_range(0..=300)? {
        let length = *random.choose(&[1, 5, 30, 1_000, 16_384, 40_000])?;
        let length = random.int_in_range(1..=length)?;
        match random.int_in_range(0..=8)? {
            0 => client.write(&said, length),
            // Exists only in TLS 1.3, and only after the handshake.
            1 => drop(client.session.refresh_traffic_keys()),
            2 => server.write(&said, length, random)?,
            3 => drop(server.stream.try_flush()),
            4 | 5 => server.read(length).await,
            6 => client.read(length),
            _ => client.send(length),
        }
        server.keeps_little();
    }
    let end = *random.choose(&[End::Closed, End::Truncated, End::Violated])?;
    if end != End::Truncated || random.ratio(1, 2)? {
        while client.session.is_handshaking() || server.stream.is_handshaking() {
            client.send(usize::MAX);
            server.read(1_000).await;
            client.read(usize::MAX);
        }
    }

    let is_deaf = random.ratio(1, 4)?;
    client.end(end, random)?;
    while server.end.is_none() {
        client.send(usize::MAX);
        if client.unsent.is_empty() {
            client.shut_down();
        }
        if !is_deaf {
            client.read(usize::MAX);
        }
        let length = random.int_in_range(1..=40_000)?;
        server.read(length).await;
        server.keeps_little();
    }
    assert_eq!(server.end, Some(end));
    assert!(said.starts_with(&server.received), "nothing else is read");
    if end == End::Closed {
        assert_eq!(server.received.len(), client.written);
        let stream = &server.stream;
        assert_eq!(
            stream.received.capacity() + stream.session.opened.capacity(),
            0
        );
    }

    let is_in_handshake = server.stream.is_handshaking();
    if is_deaf {
        server.stream.finish();
    } else {
        let shut_down = poll_fn(|context| server.stream.poll_shutdown(context));
        let read = async {
            while client.end.is_none() {
                client.read(usize::MAX);
                yield_now().await;
            }
        };
        let (shut_down, ()) = tokio::join!(shut_down, read);
        shut_down.expect("the client reads");
    }
    let is_told = server.stream.is_flushed();
    while client.end.is_none() {
        client.read(usize::MAX);
        yield_now().await;
    }
    assert!(said.starts_with(&client.received), "nothing else is read");
    let seen = match end {
        _ if !is_told || is_in_handshake => End::Truncated,
        End::Violated => End::Violated,
        _ => End::Closed,
    };
    assert_eq!(client.end, Some(seen), "{end:?}");
    if seen != End::Truncated {
        assert_eq!(client.received.len(), server.written);
    }
    Ok(())
}

fn pair(random: &mut Unstructured<'_>) -> Result<(Client, Server)> {
    let (ours, theirs) = ClientSocket::pair().expect("a pair");
    if random.ratio(1, 2)? {
        // So that little fits at once.
        for socket in [&ours, &theirs] {
            let set = SockRef::from(socket).set_send_buffer_size(1);
            set.expect("a size");
        }
    }
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true).expect("it is a socket");
    }
    let ours = UnixStream::from_std(ours).expect("a runtime");
    let version = *random.choose(&[&rustls::version::TLS12, &rustls::version::TLS13])?;
    let name = "localhost".try_into().expect("a name");
    let mut session = ClientConnection::new(client_config(version), name).expect("a session");
    session.set_buffer_limit(None);
    let client = Client {
        session,
        socket: theirs,
        unsent: Vec::new(),
        written: 0,
        is_shut_down: false,
        received: Vec::new(),
        end: None,
    };
    let server = Server {
        stream: TlsStream::new(Either::Right(ours), server_config()),
        written: 0,
        received: Vec::new(),
        end: None,
    };
    Ok((client, server))
}

impl Client {
    fn write(&mut self, said: &[u8], length: usize) {
        let rest = &said[self.written..];
        let part = &rest[..length.min(rest.len())];
        self.session.writer().write_all(part).expect("no limit");
        self.written += part.len();
    }

    /// Encrypts everything, and sends up to this many bytes.
    fn send(&mut self, length: usize) {
        if self.is_shut_down {
            return;
        }
        while self.session.wants_write() {
            self.session.write_tls(&mut self.unsent).expect("a vector");
        }
        let length = length.min(self.unsent.len());
        match self.socket.write(&self.unsent[..length]) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }

    fn shut_down(&mut self) {
        self.is_shut_down = true;
        self.socket.shutdown(Shutdown::Write).ok();
    }

    /// Reads up to this many bytes from the socket.
    fn read(&mut self, length: usize) {
        let mut bytes = vec![0; length.min(100_000)];
        let read = match self.socket.read(&mut bytes) {
            Ok(0) => {
                self.end.get_or_insert(End::Truncated);
                return;
            }
            Ok(read) => read,
            Err(error) => return assert_eq!(error.kind(), ErrorKind::WouldBlock),
        };
        let mut bytes = &bytes[..read];
        while !bytes.is_empty() && self.end.is_none() {
            self.session.read_tls(&mut bytes).expect("it is drained");
            match self.session.process_new_packets() {
                Ok(state) if state.peer_has_closed() => self.end = Some(End::Closed),
                Ok(_) => {}
                Err(rustls::Error::AlertReceived(_)) => self.end = Some(End::Violated),
                Err(error) => panic!("the server broke the protocol: {error}"),
            }
            let mut reader = self.session.reader();
            let read = reader.read_to_end(&mut self.received);
            if let Err(error) = read {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
            }
        }
    }

    fn end(&mut self, end: End, random: &mut Unstructured<'_>) -> Result<()> {
        match end {
            End::Closed => self.session.send_close_notify(),
            End::Truncated => {
                self.send(0);
                let left = random.int_in_range(0..=self.unsent.len())?;
                self.unsent.truncate(left);
            }
            End::Violated => {
                self.session.writer().write_all(b"more").expect("no limit");
                self.send(0);
                // A record ends with its authentication tag.
                let from_end = random.int_in_range(1..=16)?;
                let at = self.unsent.len() - from_end;
                self.unsent[at] ^= 1 << random.int_in_range(0..=7)?;
            }
        }
        Ok(())
    }
}

impl Server {
    fn write(&mut self, said: &[u8], length: usize, random: &mut Unstructured<'_>) -> Result<()> {
        let rest = &said[self.written..];
        let part = &rest[..length.min(rest.len())];
        let cut = random.int_in_range(0..=part.len())?;
        let (first, second) = part.split_at(cut);
        let slices = [IoSlice::new(first), IoSlice::new(second)];
        let whole = [IoSlice::new(part)];
        let slices = if random.ratio(1, 2)? {
            &slices[..]
        } else {
            &whole
        };
        match self.stream.try_write(slices) {
            Ok(written) => self.written += written,
            Err(error) => {
                let is_early = self.stream.is_handshaking();
                assert!(is_early || error.kind() == ErrorKind::WouldBlock, "{error}");
            }
        }
        Ok(())
    }

    /// Reads once, with room for this many bytes.
    async fn read(&mut self, length: usize) {
        // Lets the runtime notice what the sockets are ready for.
        yield_now().await;
        let mut buffer = vec![0; length];
        let read = poll_fn(|context| Poll::Ready(self.stream.poll_read(context, &mut buffer)));
        match read.await {
            Poll::Pending => {}
            Poll::Ready(Ok(0)) => self.end = Some(End::Closed),
            Poll::Ready(Ok(read)) => {
                assert_eq!(self.end, None, "nothing comes after the end");
                self.received.extend_from_slice(&buffer[..read]);
            }
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                self.end = Some(End::Truncated);
            }
            Poll::Ready(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
                self.end = Some(End::Violated);
            }
        }
    }

    /// The memory of a stream is bounded, whatever comes and whether or not the peer reads.
    fn keeps_little(&self) {
        let stream = &self.stream;
        assert!(stream.received.len() <= LONGEST_RECORD + READ);
        assert!(stream.session.unsent.len() <= 2 * LONGEST_RECORD);
    }
}
