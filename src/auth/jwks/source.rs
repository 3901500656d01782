//! Reads a key set from its source: a file, or a URL.

use std::{
    error::Error as StdError,
    io,
    iter::successors,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use http::{StatusCode, header};
use reqwest::{Certificate, Client, Response, redirect};
use thiserror::Error;
use tokio::{task::spawn_blocking, time::timeout};
use url::Url;

use crate::{config::JwksSource, file, wire::is_loopback};

/// The longest document, in bytes: room for hundreds of keys, but not enough to fill memory.
const MAX_LENGTH: usize = 256 * 1024;
/// How long one read may take in all, from the DNS look-up to the last byte.
const LIMIT: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 3;

/// What was read from a source.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    /// The time on the server's clock, to the second (RFC 9110, 6.6.1).
    pub(super) date: Option<SystemTime>,
}

/// Why nothing could be read from a source.
#[derive(Debug, Error)]
pub enum SourceError {
    #[error("{} cannot be read", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} is not a PEM file with certificates", .0.display())]
    Authorities(PathBuf),
    #[error("the HTTPS client cannot be set up: {0}")]
    Setup(String),
    #[error("no answer: {0}")]
    Unreachable(String),
    #[error("{0}")]
    Certificate(String),
    #[error("the answer is incomplete: {0}")]
    Broken(String),
    #[error("it redirects to a URL that is not allowed: {0}")]
    Redirect(String),
    #[error("the answer is {0}, not 200")]
    Status(StatusCode),
    #[error("it has more than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("not read within {}", humantime::format_duration(LIMIT))]
    Timeout,
}

impl SourceError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::File { .. } => "make it a file that sockd may read",
            Self::Authorities(_) => "see auth.jwks_ca_file",
            Self::Setup(_) => "see that the system's CA certificates are installed",
            Self::Unreachable(_) | Self::Broken(_) => {
                "see that the issuer runs and can be reached from here"
            }
            Self::Certificate(_) => "for a private authority set auth.jwks_ca_file",
            Self::Redirect(_) => "set auth.jwks_url to the URL where the keys are",
            Self::Status(_) => "see auth.jwks_url",
            Self::TooLong => "see that it is a key set",
            Self::Timeout => "see the issuer, and the network between",
        }
    }
}

/// Reads the document, within a limit of bytes and time.
pub(super) async fn read(source: &JwksSource) -> Result<Document, SourceError> {
    let reading = async {
        match source {
            JwksSource::File(path) => {
                let path = path.clone();
                let bytes = in_background(move || read_file(&path, MAX_LENGTH as u64)).await?;
                Ok(Document { bytes, date: None })
            }
            JwksSource::Url { url, ca_file } => fetch(url, ca_file.clone()).await,
        }
    };
    let read = timeout(LIMIT, reading).await;
    read.unwrap_or(Err(SourceError::Timeout))
}

fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, SourceError> {
    file::read(path, limit).map_err(|source| SourceError::File {
        path: path.to_owned(),
        source,
    })
}

async fn fetch(url: &Url, ca_file: Option<PathBuf>) -> Result<Document, SourceError> {
    let target = url.clone();
    let client = in_background(move || client(&target, ca_file.as_deref())).await?;
    let request = client.get(url.clone());
    let request = request.header(header::ACCEPT, "application/jwk-set+json, application/json");
    let mut response = request.send().await.map_err(|error| not_sent(&error))?;
    if response.status() != StatusCode::OK {
        return Err(SourceError::Status(response.status()));
    }
    let date = response.headers().get(header::DATE);
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let bytes = body(&mut response).await?;
    Ok(Document { bytes, date })
}

async fn body(response: &mut Response) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    loop {
        let chunk = response.chunk().await;
        let Some(chunk) = chunk.map_err(|error| SourceError::Broken(cause(&error)))? else {
            return Ok(bytes);
        };
        if bytes.len() + chunk.len() > MAX_LENGTH {
            return Err(SourceError::TooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// Makes a client for one request: sets are read rarely, and the system's certificate authorities take
/// much memory and may change.
fn client(url: &Url, ca_file: Option<&Path>) -> Result<Client, SourceError> {
    let mut builder = Client::builder().user_agent(concat!("sockd/", env!("CARGO_PKG_VERSION")));
    builder = if url.scheme() == "https" {
        let redirects = redirect::Policy::limited(MAX_REDIRECTS);
        builder.https_only(true).redirect(redirects)
    } else {
        // Plain HTTP must work where no CA certificates are installed.
        let none = redirect::Policy::none();
        builder.redirect(none).tls_certs_only([])
    };
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    if let Some(path) = ca_file {
        builder = builder.tls_certs_merge(authorities(path)?);
    }
    let client = builder.build();
    client.map_err(|error| SourceError::Setup(cause(&error)))
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, SourceError> {
    let pem = read_file(path, file::LONGEST)?;
    let authorities = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if authorities.is_empty() {
        return Err(SourceError::Authorities(path.to_owned()));
    }
    Ok(authorities)
}

fn not_sent(error: &reqwest::Error) -> SourceError {
    let cause = cause(error);
    if error.is_redirect() {
        SourceError::Redirect(cause)
    } else if cause.contains("certificate") {
        SourceError::Certificate(cause)
    } else {
        SourceError::Unreachable(cause)
    }
}

/// The innermost cause.
fn cause(error: &reqwest::Error) -> String {
    let first: &(dyn StdError + 'static) = error;
    let last = successors(Some(first), |error| (*error).source()).last();
    last.unwrap_or(first).to_string()
}

/// Runs blocking work on another thread.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(SourceError::Setup(error.to_string())))
}
