//! Why a handshake of TLS failed.

use std::io;

use thiserror::Error;

/// Why there is no TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TlsRefusal {
    #[error("it began with something else than TLS")]
    NotTls,
    #[error("the peer supports no version, cipher suite or protocol (ALPN) in common")]
    Incompatible,
    #[error("the peer does not accept the certificate, or hung up with an alert")]
    Alert,
    #[error("the peer showed no certificate that is trusted")]
    ClientCertificate,
    #[error("the handshake did not end in time")]
    Late,
    #[error("the peer hung up in the middle of the handshake")]
    Closed,
    #[error("the peer broke the protocol")]
    Other,
}

impl TlsRefusal {
    pub const ALL: [Self; 7] = [
        Self::NotTls,
        Self::Incompatible,
        Self::Alert,
        Self::ClientCertificate,
        Self::Late,
        Self::Closed,
        Self::Other,
    ];

    /// As a label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::Alert => "alert",
            Self::ClientCertificate => "client_certificate",
            Self::Late => "late",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }

    /// What an error of [`TlsStream::poll_read`](super::TlsStream::poll_read) means; `None` if it is the socket's.
    pub fn of(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        Some(match error {
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => {
                Self::Incompatible
            }
            rustls::Error::AlertReceived(_) => Self::Alert,
            rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_) => {
                Self::ClientCertificate
            }
            _ => Self::Other,
        })
    }
}
