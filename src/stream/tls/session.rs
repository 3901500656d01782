//! The TLS session of a stream, without I/O: decrypts (opens) and encrypts (seals).

use std::{io, sync::Arc};

use rustls::{
    ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, UnbufferedStatus},
};

use super::record::{encode, is_alert};

pub(super) struct Session {
    connection: UnbufferedServerConnection,
    /// Decrypted bytes that the reader had no room for.
    pub(super) opened: Vec<u8>,
    /// Encrypted bytes that the socket has not taken.
    pub(super) unsent: Vec<u8>,
    /// Whether the peer has closed its side.
    pub(super) has_ended: bool,
    has_failed: bool,
}

/// What to seal as soon as the session can.
pub(super) enum Seal<'a> {
    Nothing,
    Plaintext(&'a [u8]),
    Close,
}

impl Session {
    /// A session must have been begun with the configuration before.
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        let connection = UnbufferedServerConnection::new(config);
        Self {
            connection: connection.expect("it was tried when the files were read"),
            opened: Vec::new(),
            unsent: Vec::new(),
            has_ended: false,
            has_failed: false,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Processes the received bytes until more are needed. Returns how many were used, and how many bytes were
    /// decrypted into the buffer.
    ///
    /// # Errors
    /// `BrokenPipe`: both sides are closed, so nothing more can be sealed. If the peer broke the protocol, the
    /// alert that tells it so is in `unsent`.
    pub(super) fn step(
        &mut self,
        received: &mut [u8],
        buffer: &mut [u8],
        seal: Seal<'_>,
    ) -> io::Result<(usize, usize)> {
        if self.has_failed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let (mut used, mut length) = (0, 0);
        loop {
            let status = self.connection.process_tls_records(&mut received[used..]);
            let UnbufferedStatus { discard, state, .. } = status;
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.fail(&mut received[used + discard..]);
                    return Err(failed(error));
                }
            };
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(failed)?;
                        let part = record.payload.len().min(buffer.len() - length);
                        let (fits, rest) = record.payload.split_at(part);
                        buffer[length..length + part].copy_from_slice(fits);
                        self.opened.extend_from_slice(rest);
                        length += part;
                        used += record.discard;
                    }
                    used += discard;
                    // A reader without room continues later; a writer has to get past these records.
                    if length == buffer.len() && matches!(seal, Seal::Nothing) {
                        return Ok((used, length));
                    }
                    continue;
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut self.unsent, |buffer| {
                        data.encode(buffer).map_err(io::Error::other)
                    })?;
                }
                // It is in `unsent`.
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    encode(&mut self.unsent, |buffer| {
                        let sealed = match seal {
                            Seal::Nothing => return Ok(0),
                            Seal::Plaintext(bytes) => traffic.encrypt(bytes, buffer),
                            Seal::Close => traffic.queue_close_notify(buffer),
                        };
                        sealed.map_err(io::Error::other)
                    })?;
                    return Ok((used + discard, length));
                }
                ConnectionState::BlockedHandshake => {
                    return match seal {
                        Seal::Nothing => Ok((used + discard, length)),
                        _ => Err(io::ErrorKind::NotConnected.into()),
                    };
                }
                ConnectionState::PeerClosed => {
                    self.has_ended = true;
                    if matches!(seal, Seal::Nothing) {
                        return Ok((used + discard, length));
                    }
                }
                // The session stays in this state, so sealing must not be tried again.
                ConnectionState::Closed => {
                    self.has_ended = true;
                    return match seal {
                        Seal::Nothing => Ok((used + discard, length)),
                        _ => Err(io::ErrorKind::BrokenPipe.into()),
                    };
                }
                // Early data is off, and there are no other states yet.
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
            used += discard;
        }
    }

    /// Puts the alert that tells the peer what is wrong into `unsent`. From then on the connection must not be
    /// used.
    fn fail(&mut self, received: &mut [u8]) {
        self.has_failed = true;
        loop {
            let status = self.connection.process_tls_records(received);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else {
                break;
            };
            let begin = self.unsent.len();
            let encoded = encode(&mut self.unsent, |buffer| {
                data.encode(buffer).map_err(io::Error::other)
            });
            // Other records may precede the alert, such as the first handshake message of the server.
            if encoded.is_err() || is_alert(&self.unsent[begin..]) {
                break;
            }
        }
    }
}

pub(super) fn failed(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
