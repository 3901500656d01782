//! The certificates that listeners present, and the client certificates that they require.

#[cfg(test)]
mod tests;

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::{Ticketer, default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{NoServerSessionStorage, UnbufferedServerConnection, WebPkiClientVerifier},
};
use simple_asn1::ASN1Block;
use thiserror::Error;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::{
    config::{Problem, TlsFiles},
    error::chain,
    file::{self, READ_LIMIT},
    metrics::{Counter, Level, TLS_CERTIFICATE_EXPIRY, TLS_CERTIFICATE_READS},
};

/// How often the files are read again.
const REFRESH: Duration = Duration::from_secs(10);
/// How long before a certificate expires a warning is logged: longer than an unattended weekend, and shorter than
/// the 30 days before the end at which ACME clients renew.
pub const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Only HTTP/1.1 is offered over TLS.
const ALPN: &[u8] = b"http/1.1";

/// Why a file of a listener cannot be used.
#[derive(Debug, Error)]
#[error("{setting}: {fault}")]
pub struct TlsError {
    setting: String,
    #[source]
    fault: Fault,
}

#[derive(Debug, Error)]
enum Fault {
    #[error("failed to read {0}")]
    Unreadable(String, #[source] io::Error),
    #[error("{0} has no certificate in PEM")]
    NoCertificate(String),
    #[error("{0} has no private key in PEM that is not encrypted")]
    NoKey(String),
    #[error("the key in {key} does not belong to the first certificate of {certificate}")]
    Mismatch { key: String, certificate: String },
    #[error("{0} cannot be used")]
    Unusable(String, #[source] rustls::Error),
}

impl From<TlsError> for Problem {
    fn from(TlsError { setting, fault }: TlsError) -> Self {
        let remedy = match &fault {
            Fault::Unreadable(..) => "name a file that sockd's user may read",
            Fault::NoCertificate(_) => {
                "name the file with the certificate and its intermediates (fullchain.pem)"
            }
            Fault::NoKey(_) => {
                "name the file of the key (privkey.pem), decrypted with `openssl pkey`"
            }
            Fault::Mismatch { .. } => {
                "name the key that it was issued for, and put the server's own certificate first"
            }
            Fault::Unusable(..) => {
                "name an X.509 certificate in PEM, with an RSA, ECDSA or Ed25519 key"
            }
        };
        Self::new(setting, chain(&fault), remedy)
    }
}

/// What the files held when they were read.
pub struct Loaded {
    config: Arc<ServerConfig>,
    /// When the certificate expires, as a Unix time; `None` if that is not known.
    pub expires_at: Option<i64>,
    /// A digest of all files.
    digest: Vec<u8>,
}

/// The certificate of a listener, which is read again when its files change.
pub struct Certificates {
    files: TlsFiles,
    current: ArcSwap<Loaded>,
    expiry: Level,
    ok: Counter,
    failed: Counter,
}

impl Loaded {
    /// # Errors
    /// See [`TlsError`].
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let certificate = File::read(files, "tls_cert_file", &files.certificate)?;
        let key = File::read(files, "tls_key_file", &files.key)?;
        let authority = match &files.client_authority {
            Some(path) => Some(File::read(files, "tls_client_ca_file", path)?),
            None => None,
        };
        let chain = certificate.certificates()?;
        let parts = [Some(&certificate), Some(&key), authority.as_ref()];
        let parts: Vec<_> = parts
            .into_iter()
            .flatten()
            .map(|file| digest(&SHA256, &file.text))
            .collect();
        let digests: Vec<_> = parts
            .iter()
            .flat_map(|part| part.as_ref().to_vec())
            .collect();
        let expires_at = chain.first().and_then(|first| expiry(first));
        let private = key.private_key()?;
        let roots = match &authority {
            Some(file) => Some(file.roots()?),
            None => None,
        };
        let config = config(roots, chain, private).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => key.faulty(|key| Fault::Mismatch {
                key,
                certificate: certificate.shown.clone(),
            }),
            source => certificate.unusable(source),
        })?;
        let config = Arc::new(config);
        // Tried once here, so that no connection can fail to begin a session.
        UnbufferedServerConnection::new(config.clone())
            .map_err(|source| certificate.unusable(source))?;
        Ok(Self {
            config,
            expires_at,
            digest: digests,
        })
    }

    /// How long the certificate is still valid; `None` if it has expired, or if that is not known.
    pub fn remains(&self) -> Option<Duration> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let end = Duration::from_secs(self.expires_at?.try_into().ok()?);
        end.checked_sub(now).filter(|left| !left.is_zero())
    }
}

impl Certificates {
    /// # Errors
    /// See [`TlsError`].
    pub fn open(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let loaded = Loaded::read(files)?;
        let counter = |result| TLS_CERTIFICATE_READS.with_label_values(&[files.section, result]);
        let certificates = Self {
            expiry: TLS_CERTIFICATE_EXPIRY.with_label_values(&[files.section]),
            ok: counter("ok"),
            failed: counter("failed"),
            files: files.clone(),
            current: ArcSwap::from_pointee(loaded),
        };
        certificates.note_expiry();
        Ok(Arc::new(certificates))
    }

    /// The configuration for a new connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load().config.clone()
    }

    /// Reads the files without using them yet. Blocks.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn read(&self) -> Result<Loaded, TlsError> {
        Loaded::read(&self.files).inspect_err(|_| self.failed.inc())
    }

    /// Uses what was read for new connections, if it differs. Open ones stay as they are.
    pub fn replace(&self, loaded: Loaded) {
        if loaded.digest == self.current.load().digest {
            return;
        }
        self.current.store(Arc::new(loaded));
        self.ok.inc();
        let listener = self.files.section;
        tracing::info!(listener, "serving with a new certificate");
        self.note_expiry();
    }

    /// Reads the files every few seconds, and replaces the certificate when they have changed and can be used.
    /// Each error is logged once.
    pub async fn run(self: Arc<Self>) {
        let files = self.files.clone();
        self.watch(move || Loaded::read(&files)).await;
    }

    async fn watch(&self, read: impl Fn() -> Result<Loaded, TlsError> + Clone + Send + 'static) {
        let mut complaint = None;
        // `None`: the files can be used again.
        let mut complain = |error: Option<String>| {
            if error != complaint
                && let Some(error) = &error
            {
                self.failed.inc();
                let listener = self.files.section;
                tracing::error!(
                    listener,
                    error,
                    "a certificate cannot be used, keeping the old one"
                );
            }
            complaint = error;
        };
        loop {
            sleep(REFRESH).await;
            let mut reading = spawn_blocking(read.clone());
            let read = match timeout(READ_LIMIT, &mut reading).await {
                Ok(read) => read,
                Err(_) => {
                    complain(Some(format!(
                        "its files were not read within {READ_LIMIT:?}; check their disk"
                    )));
                    // Another read would hang as well.
                    reading.await
                }
            };
            match read {
                Ok(Ok(loaded)) => {
                    complain(None);
                    self.replace(loaded);
                }
                Ok(Err(error)) => complain(Some(Problem::from(error).to_string())),
                // Not the text of the panic, which is logged anyway and may differ each time.
                Err(_) => {
                    let error = "reading its files panicked; report that as a fault of sockd";
                    complain(Some(error.to_owned()));
                }
            }
        }
    }

    fn note_expiry(&self) {
        let loaded = self.current.load();
        self.expiry.set(loaded.expires_at.unwrap_or_default());
        let listener = self.files.section;
        let file = tracing::field::display(self.files.certificate.display());
        match loaded.remains() {
            None if loaded.expires_at.is_some() => {
                tracing::warn!(
                    listener,
                    file,
                    "the certificate has expired, so clients refuse it; renew it"
                );
            }
            Some(left) if left < SOON => {
                let days = left.as_secs() / 86_400;
                tracing::warn!(
                    listener,
                    file,
                    days,
                    "the certificate expires soon; renew it"
                );
            }
            _ => {}
        }
    }
}

/// A PEM file and the setting that names it.
struct File {
    setting: String,
    shown: String,
    text: Vec<u8>,
}

impl File {
    fn read(files: &TlsFiles, name: &str, path: &Path) -> Result<Self, TlsError> {
        let setting = format!("{}.{name}", files.section);
        let shown = path.display().to_string();
        match file::read(path, file::LONGEST) {
            Ok(text) => Ok(Self {
                setting,
                shown,
                text,
            }),
            Err(source) => Err(TlsError {
                setting,
                fault: Fault::Unreadable(shown, source),
            }),
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, pem::Error> =
            CertificateDer::pem_slice_iter(&self.text).collect();
        let found = found.ok().filter(|found| !found.is_empty());
        found.ok_or_else(|| self.faulty(Fault::NoCertificate))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in self.certificates()? {
            roots.add(authority).map_err(|error| self.unusable(error))?;
        }
        Ok(roots)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|_| self.faulty(Fault::NoKey))
    }

    fn unusable(&self, error: rustls::Error) -> TlsError {
        self.faulty(|shown| Fault::Unusable(shown, error))
    }

    fn faulty(&self, fault: impl FnOnce(String) -> Fault) -> TlsError {
        TlsError {
            setting: self.setting.clone(),
            fault: fault(self.shown.clone()),
        }
    }
}

fn config(
    client_authorities: Option<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match client_authorities {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = verifier.build();
            let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Clients keep their sessions in tickets, so that returning clients cost no signature, and sessions no memory
    // here.
    config.ticketer = Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// When a certificate ends (RFC 5280, 4.1.2.5), as a Unix time.
fn expiry(certificate: &[u8]) -> Option<i64> {
    let mut blocks = simple_asn1::from_der(certificate).ok()?.into_iter();
    let ASN1Block::Sequence(_, signed) = blocks.next()? else {
        return None;
    };
    let ASN1Block::Sequence(_, fields) = signed.into_iter().next()? else {
        return None;
    };
    // The only field with two times.
    fields.iter().find_map(|field| match field {
        ASN1Block::Sequence(_, validity) => match validity.as_slice() {
            [
                ASN1Block::UTCTime(..) | ASN1Block::GeneralizedTime(..),
                ASN1Block::UTCTime(_, end) | ASN1Block::GeneralizedTime(_, end),
            ] => Some(end.assume_utc().unix_timestamp()),
            _ => None,
        },
        _ => None,
    })
}
