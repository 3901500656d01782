//! A stream against a rustls client.

use std::{future::poll_fn, path::Path};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, split},
    net::UnixStream,
};
use tokio_rustls::{
    TlsConnector, client,
    rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version},
};

use super::*;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tls")
        .join(name)
}

pub(super) fn server_config() -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = CertificateDer::from_pem_file(fixture("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("server.key.pem")).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn stream(socket: UnixStream) -> TlsStream {
    TlsStream::new(Either::Right(socket), server_config())
}

pub(super) fn client_config(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(fixture("ca.pem")).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

async fn client(
    socket: UnixStream,
    version: &'static SupportedProtocolVersion,
) -> client::TlsStream<UnixStream> {
    let name = "localhost".try_into().unwrap();
    let connector = TlsConnector::from(client_config(version));
    connector.connect(name, socket).await.unwrap()
}

/// Sends back what comes, reading this many bytes at once, until the peer closes.
async fn echo(mut stream: TlsStream, length: usize) -> TlsStream {
    let mut buffer = vec![0; length];
    loop {
        let read = poll_fn(|context| stream.poll_read(context, &mut buffer)).await;
        let read = read.unwrap();
        if read == 0 {
            return stream;
        }
        let mut left = &buffer[..read];
        while !left.is_empty() {
            // In two slices, as frames come from a queue.
            let (first, second) = left.split_at(left.len() / 3);
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            let written = poll_fn(|context| stream.poll_write(context, &slices)).await;
            left = &left[written.unwrap()..];
        }
        poll_fn(|context| stream.poll_flush(context)).await.unwrap();
    }
}

#[tokio::test]
async fn everything_sent_comes_back_whatever_the_pieces() {
    let sent: Vec<u8> = (0..1_000_000u32)
        .map(|number| (number * 7 / 3) as u8)
        .collect();
    for version in [&version::TLS12, &version::TLS13] {
        for (length, amount) in [(1, 2_000), (1_000, 100_000), (64 << 10, sent.len())] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let client = async {
                let (mut reader, mut writer) = split(client(theirs, version).await);
                let sent = &sent[..amount];
                let send = async move {
                    writer.write_all(sent).await.unwrap();
                    writer.shutdown().await.unwrap();
                    writer
                };
                let receive = async {
                    let mut received = vec![0; amount];
                    reader.read_exact(&mut received).await.unwrap();
                    (received, reader)
                };
                tokio::join!(send, receive)
            };
            let (mut stream, (_writer, (received, mut reader))) =
                tokio::join!(echo(stream(ours), length), client);
            assert!(received == sent[..amount], "{length} {version:?}");
            // An idle stream keeps nothing but its session.
            let kept = [
                &stream.received,
                &stream.session.opened,
                &stream.session.unsent,
            ];
            assert!(kept.iter().all(|kept| kept.capacity() == 0));
            stream.finish();
            assert_eq!(reader.read(&mut [0]).await.unwrap(), 0, "a clean end");
        }
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_holds_writes_back() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut stream, mut client) = tokio::join!(
        async {
            let mut stream = stream(ours);
            let mut byte = [0];
            poll_fn(|context| stream.poll_read(context, &mut byte))
                .await
                .unwrap();
            stream
        },
        async {
            let mut client = client(theirs, &version::TLS13).await;
            client.write_all(b"x").await.unwrap();
            client
        }
    );
    let piece = [b'y'; 10_000];
    let mut sent = 0;
    loop {
        match stream.try_write(&[IoSlice::new(&piece)]) {
            Ok(length) => sent += length,
            Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert!(sent < 100 << 20, "a limit");
    }
    assert!(!stream.is_flushed());
    assert!(stream.session.unsent.len() <= 2 * LONGEST_RECORD);
    let mut received = vec![0; sent];
    let flushed = poll_fn(|context| stream.poll_flush(context));
    let (flushed, read) = tokio::join!(flushed, client.read_exact(&mut received));
    flushed.unwrap();
    read.unwrap();
    assert!(stream.is_flushed() && received.iter().all(|byte| *byte == b'y'));
}

#[tokio::test]
async fn a_stream_that_both_sides_have_closed_takes_no_more_bytes() {
    for version in [&version::TLS12, &version::TLS13] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut stream, _client) = tokio::join!(echo(stream(ours), 100), async {
            let mut client = client(theirs, version).await;
            client.shutdown().await.unwrap();
            client
        });
        stream.finish();
        let written = stream.try_write(&[IoSlice::new(b"more")]);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

#[tokio::test]
async fn what_is_not_tls_is_refused_at_once() {
    for (sent, refusal) in [
        (
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            TlsRefusal::NotTls,
        ),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", TlsRefusal::NotTls),
        (&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3], TlsRefusal::NotTls),
        (&[0x17, 3, 3, 0, 1, 0, 0, 0], TlsRefusal::Other),
    ] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(sent).await.unwrap();
        let mut stream = stream(ours);
        let mut buffer = [0; 100];
        let read = poll_fn(|context| stream.poll_read(context, &mut buffer)).await;
        assert_eq!(
            TlsRefusal::of(&read.unwrap_err()),
            Some(refusal),
            "{sent:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_has_no_protocol_in_common_is_told_so() {
    for version in [&version::TLS12, &version::TLS13] {
        let mut config = Arc::unwrap_or_clone(client_config(version));
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (ours, theirs) = UnixStream::pair().unwrap();
        let name = "localhost".try_into().unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = stream(ours);
        let mut byte = [0];
        let (read, told) = tokio::join!(
            poll_fn(|context| stream.poll_read(context, &mut byte)),
            connector.connect(name, theirs)
        );
        let refusal = TlsRefusal::of(&read.unwrap_err());
        assert_eq!(refusal, Some(TlsRefusal::Incompatible));
        let told = told.unwrap_err().into_inner().expect("an error of TLS");
        let alert = rustls::AlertDescription::NoApplicationProtocol;
        let expected = rustls::Error::AlertReceived(alert);
        assert_eq!(told.downcast_ref(), Some(&expected), "{version:?}");
    }
}

#[tokio::test]
async fn an_endless_handshake_message_is_not_kept() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut stream = stream(ours);
    let read = async {
        let mut byte = [0];
        poll_fn(|context| stream.poll_read(context, &mut byte)).await
    };
    // A ClientHello that announces 65,520 bytes.
    let mut record = vec![0; 5 + LONGEST_PLAINTEXT];
    record[..9].copy_from_slice(&[0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xf0]);
    let send = async {
        theirs.write_all(&record).await.unwrap();
        record[5..9].fill(0);
        // The first of these is more than is kept.
        while theirs.write_all(&record).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let read = tokio::select! {
        read = read => read,
        () = send => unreachable!("it reads"),
    };
    assert_eq!(TlsRefusal::of(&read.unwrap_err()), Some(TlsRefusal::Other));
    let kept = stream.received.len();
    assert!(kept <= 2 * LONGEST_RECORD, "{kept}");
}
