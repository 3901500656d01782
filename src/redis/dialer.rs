//! What a connection to Redis needs from outside the process: a byte stream and randomness.

use std::{fmt, future::Future, io, pin::Pin, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};

/// How a byte stream to a server is opened.
#[derive(Debug, Clone, Default)]
pub enum Dialer {
    /// Over the network of this machine.
    #[default]
    Network,
    /// Over another network, such as that of a simulation.
    Given(Arc<dyn Dial>),
}

/// A network other than this machine's. Only a standalone Redis can be reached over it.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// Opens a stream to the server at the URL.
    fn dial(&self, url: &str) -> Dialing;

    /// A number between 0 and 1: how much longer than necessary to wait before dialing again.
    fn jitter(&self) -> f64;
}

/// Resolves to a stream, once the server has accepted it.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Dialer {
    /// A number between 0 and 1, good enough for jitter.
    pub(super) fn jitter(&self) -> f64 {
        match self {
            Self::Network => f64::from(uuid::Uuid::new_v4().into_bytes()[0]) / 255.0,
            Self::Given(network) => network.jitter(),
        }
    }
}
