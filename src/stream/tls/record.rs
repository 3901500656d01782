//! TLS records on the wire (RFC 8446, 5).

use std::{cell::RefCell, io};

use rustls::ContentType;

/// The length of a record's header, and what TLS 1.3 adds to its plaintext: a type and an authentication tag.
const RECORD_HEAD: usize = 5;
const SEALING: usize = 1 + 16;
/// The longest record on the wire, with its header (RFC 8446, 5.2; RFC 5246, 6.2.3).
pub(super) const LONGEST_RECORD: usize = RECORD_HEAD + (16 << 10) + 2_048;
/// The most plaintext of a record.
pub(super) const LONGEST_PLAINTEXT: usize = 16 << 10;

thread_local! {
    /// Room for a record, and a handshake message that may precede it.
    static SEALED: RefCell<Vec<u8>> = RefCell::new(vec![0; 2 * LONGEST_RECORD]);
}

/// Appends what the session writes to the unsent bytes.
pub(super) fn encode(
    unsent: &mut Vec<u8>,
    write: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<()> {
    SEALED.with_borrow_mut(|sealed| {
        let length = write(sealed)?;
        unsent.extend_from_slice(&sealed[..length]);
        Ok(())
    })
}

/// Whether a record that the session sends is an alert, which has two bytes. TLS 1.3 encrypts it like data, and
/// nothing else that the session sends by itself is as short.
pub(super) fn is_alert(record: &[u8]) -> bool {
    match record.first().map(|kind| ContentType::from(*kind)) {
        Some(ContentType::Alert) => true,
        Some(ContentType::ApplicationData) => record.len() == RECORD_HEAD + 2 + SEALING,
        _ => false,
    }
}
