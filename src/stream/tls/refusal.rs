//! Why a TLS handshake failed.

use std::io;

/// Why there is no TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsRefusal {
    /// It began with something other than TLS.
    NotTls,
    /// There is no version, cipher suite or protocol (ALPN) that both sides support.
    Incompatible,
    /// The peer did not accept the certificate, or hung up with an alert.
    Alert,
    /// The peer showed no certificate that is trusted.
    ClientCertificate,
    /// The handshake did not end in time.
    Late,
    /// The peer hung up in the middle of the handshake.
    Closed,
    /// The peer broke the protocol.
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

    /// The label in metrics.
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

    /// What an error of [`TlsStream::poll_read`](super::TlsStream::poll_read) means; `None` for an error
    /// of the socket.
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
