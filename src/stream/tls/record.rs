//! Records on the wire (RFC 8446, 5).

use std::{cell::RefCell, io};

use rustls::ContentType;

/// The head of a record, and what TLS 1.3 adds to what it seals: a type, and what authenticates it.
const RECORD_HEAD: usize = 5;
const SEALING: usize = 1 + 16;
/// The longest record on the wire, with its head (RFC 8446, 5.2; RFC 5246, 6.2.3).
pub(super) const LONGEST_RECORD: usize = RECORD_HEAD + (16 << 10) + 2_048;
/// The most plaintext of a record.
pub(super) const LONGEST_PLAINTEXT: usize = 16 << 10;

thread_local! {
    /// A record, and a message that may go before it.
    static SEALED: RefCell<Vec<u8>> = RefCell::new(vec![0; 2 * LONGEST_RECORD]);
}

/// Lets the session write to the end of what is to be sent.
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

/// Whether a record of ours is an alert, which has two bytes. TLS 1.3 seals it as if it were data, and
/// nothing else that the session sends by itself is as short.
pub(super) fn is_alert(record: &[u8]) -> bool {
    match record.first().map(|kind| ContentType::from(*kind)) {
        Some(ContentType::Alert) => true,
        Some(ContentType::ApplicationData) => record.len() == RECORD_HEAD + 2 + SEALING,
        _ => false,
    }
}
