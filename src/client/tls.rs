//! What the commands trust over https, and what they show.

use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};

use super::ClientError;
use crate::file;

/// The files of a configuration, read.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Trusted besides the system's authorities.
    authorities: Vec<Certificate>,
    identity: Option<Identity>,
}

impl Tls {
    /// Reads authorities, and a certificate with its key, all in PEM.
    ///
    /// # Errors
    /// A file that cannot be read, or has the wrong content.
    pub fn read(
        authorities: Option<&Path>,
        identity: Option<&(PathBuf, PathBuf)>,
    ) -> Result<Self, ClientError> {
        let authorities = match authorities {
            Some(path) => {
                let found = Certificate::from_pem_bundle(&read(path)?).unwrap_or_default();
                if found.is_empty() {
                    return Err(ClientError::Tls(path.to_owned()));
                }
                found
            }
            None => Vec::new(),
        };
        let identity = match identity {
            Some((certificate, key)) => {
                let both = [read(certificate)?, read(key)?].join(&b'\n');
                let found = Identity::from_pem(&both);
                Some(found.map_err(|_| ClientError::Tls(key.to_owned()))?)
            }
            None => None,
        };
        Ok(Self {
            authorities,
            identity,
        })
    }

    pub(crate) fn apply(&self, mut builder: ClientBuilder) -> ClientBuilder {
        if !self.authorities.is_empty() {
            builder = builder.tls_certs_merge(self.authorities.clone());
        }
        match &self.identity {
            Some(identity) => builder.identity(identity.clone()),
            None => builder,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    file::read(path, file::LONGEST).map_err(|source| ClientError::File {
        path: path.to_owned(),
        source,
    })
}
