//! An issuer of tokens: its keys, and the server that publishes them.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::AbortHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::jwt;

/// A new key that signs tokens.
pub struct Key {
    pub kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    pub fn rs256(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        Self::new(kid, Pair::Rsa(pair))
    }

    pub fn es256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self::new(kid, Pair::P256(pair.expect("an EC key")))
    }

    pub fn eddsa(kid: &str) -> Self {
        let pair = Ed25519KeyPair::generate().expect("an Ed25519 key");
        Self::new(kid, Pair::Ed25519(pair))
    }

    fn new(kid: &str, pair: Pair) -> Self {
        let kid = kid.to_owned();
        Self { kid, pair }
    }

    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// The public key as it is published.
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let key = pair.public_key();
                json!({
                    "kty": "RSA",
                    "n": encode(key.modulus().big_endian_without_leading_zero()),
                    "e": encode(key.exponent().big_endian_without_leading_zero()),
                })
            }
            Pair::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
            }
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = self.kid.as_str().into();
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm().into();
        jwk
    }

    /// A token that never expires, for a fresh user and session.
    pub fn token(&self) -> String {
        self.token_of(&jwt::user(), &jwt::session())
    }

    /// A token of a user's session.
    pub fn token_of(&self, user: &str, session: &str) -> String {
        let payload = json!({ "user_id": user, "session_id": session });
        self.sign(&json!({}), &payload)
    }

    /// A token of any payload, with more in its header.
    pub fn sign(&self, header: &Value, payload: &Value) -> String {
        let mut whole = json!({ "alg": self.algorithm(), "kid": self.kid });
        let more = header.as_object().expect("an object").clone();
        whole.as_object_mut().expect("an object").extend(more);
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&whole), encode(payload));
        let bytes = message.as_bytes();
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature)
                    .expect("a signature");
                signature
            }
            Pair::P256(pair) => {
                let signature = pair.sign(&random, bytes).expect("a signature");
                signature.as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(bytes).as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The document of these keys.
pub fn document(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// The response to a request.
#[derive(Clone)]
pub enum Answer {
    /// 200 with this body.
    Body(String),
    /// These bytes, and the connection is closed.
    Raw(String),
    /// The connection is closed without a response.
    HangUp,
    /// A head, and then a byte now and then.
    Drip,
    /// A body without an end, as fast as it is read.
    Endless,
}

/// Publishes keys by HTTP or HTTPS on a loopback address.
pub struct Issuer {
    pub address: SocketAddr,
    is_tls: bool,
    state: Arc<State>,
    task: AbortHandle,
}

struct State {
    answer: Mutex<Answer>,
    requests: watch::Sender<usize>,
    /// Whether responses are held back.
    is_held: watch::Sender<bool>,
}

impl Issuer {
    pub async fn start(keys: &[Value]) -> Self {
        Self::bind("127.0.0.1:0".parse().expect("an address"), None, keys).await
    }

    /// With the certificate of the tests' authority.
    pub async fn with_tls(keys: &[Value]) -> Self {
        let file = |name: &str| {
            let path = format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"));
            fs::read(path).expect("a file of the tests")
        };
        let certificate = CertificateDer::from_pem_slice(&file("server.pem"));
        let key = PrivateKeyDer::from_pem_slice(&file("server.key.pem"));
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(
            vec![certificate.expect("a certificate")],
            key.expect("a key"),
        );
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("a pair")));
        let address = "127.0.0.1:0".parse().expect("an address");
        Self::bind(address, Some(acceptor), keys).await
    }

    /// At an address where nothing listens yet.
    pub async fn start_at(address: SocketAddr, keys: &[Value]) -> Self {
        Self::bind(address, None, keys).await
    }

    async fn bind(address: SocketAddr, tls: Option<TlsAcceptor>, keys: &[Value]) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            answer: Mutex::new(Answer::Body(document(keys))),
            requests: watch::Sender::new(0),
            is_held: watch::Sender::new(false),
        });
        let is_tls = tls.is_some();
        let task = tokio::spawn(accept(listener, tls, state.clone())).abort_handle();
        Self {
            address,
            is_tls,
            state,
            task,
        }
    }

    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}/jwks.json", self.address)
    }

    pub fn publish(&self, keys: &[Value]) {
        self.answer(Answer::Body(document(keys)));
    }

    pub fn answer(&self, answer: Answer) {
        *self.state.answer.lock().expect("it is whole") = answer;
    }

    /// Holds responses back until it is called with `false`.
    pub fn hold(&self, is_held: bool) {
        self.state.is_held.send_replace(is_held);
    }

    /// The number of requests so far.
    pub fn requests(&self) -> usize {
        *self.state.requests.borrow()
    }

    /// Waits until so many requests came.
    pub async fn has_requests(&self, count: usize) {
        let mut requests = self.state.requests.subscribe();
        let come = requests.wait_for(|requests| *requests >= count);
        let come = super::within(super::PATIENCE, "a request for the keys", come).await;
        drop(come.expect("the server runs"));
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (tls, state) = (tls.clone(), state.clone());
        tokio::spawn(async move {
            match tls {
                // A client that does not trust the certificate hangs up.
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, &state).await,
                    Err(_) => None,
                },
                None => serve(stream, &state).await,
            }
        });
    }
}

/// Answers one request; `None` once the client has gone.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    state.requests.send_modify(|requests| *requests += 1);
    let mut is_held = state.is_held.subscribe();
    is_held.wait_for(|is_held| !is_held).await.ok()?;
    let answer = state.answer.lock().expect("it is whole").clone();
    const HEAD: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n";
    match answer {
        Answer::Body(body) => {
            let date = httpdate::fmt_http_date(std::time::SystemTime::now());
            let length = body.len();
            let text = format!("{HEAD}date: {date}\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).await.ok()?;
        }
        Answer::Raw(text) => stream.write_all(text.as_bytes()).await.ok()?,
        Answer::HangUp => {}
        Answer::Drip => {
            let text = format!("{HEAD}content-length: 1000\r\n\r\n");
            stream.write_all(text.as_bytes()).await.ok()?;
            loop {
                stream.write_all(b" ").await.ok()?;
                stream.flush().await.ok()?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Answer::Endless => {
            stream
                .write_all(format!("{HEAD}\r\n{{\"keys\":[").as_bytes())
                .await
                .ok()?;
            loop {
                stream.write_all(&[b' '; 4096]).await.ok()?;
            }
        }
    }
    stream.flush().await.ok()?;
    stream.shutdown().await.ok()
}
