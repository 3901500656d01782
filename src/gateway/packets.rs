//! What of a client's packets is judged before the framework sees them: what would make it answer
//! much to little, or keep what a client has sent for as long as the client likes.

use super::connection::Ending;

/// A packet with which a client asks to join a namespace.
const CONNECT: &[u8] = b"40";
/// A named namespace is refused, and its name is in the answer, which waits until it is read.
const LONGEST_NAME: usize = 1_024;
/// Between the packets of one POST.
const SEPARATOR: u8 = 0x1e;

/// Looks at the packets of one POST, in which every CONNECT starts work of its own.
///
/// # Errors
/// Why the connection has to end.
pub(super) fn check(body: &[u8], most_connects: u32) -> Result<(), Ending> {
    let mut connects = 0;
    for packet in body.split(|byte| *byte == SEPARATOR) {
        if !packet.starts_with(CONNECT) {
            continue;
        }
        connects += 1;
        if connects > most_connects {
            return Err(Ending::TooManyRefusals);
        }
        if !NameScanner::of_message().read(packet.iter().copied()) {
            return Err(Ending::Unreadable);
        }
    }
    Ok(())
}

/// Reads a packet as far as it takes to know that it does not ask for a namespace of great name.
#[derive(Debug, Default)]
pub(super) struct NameScanner {
    /// `None` where the rest of the packet does not matter.
    read: Option<usize>,
}

impl NameScanner {
    /// At the beginning of a packet.
    pub(super) fn of_message() -> Self {
        Self { read: Some(0) }
    }

    pub(super) fn is_reading(&self) -> bool {
        self.read.is_some()
    }

    /// Takes more of the packet; `false` if it is the name that is too long.
    pub(super) fn read(&mut self, bytes: impl Iterator<Item = u8>) -> bool {
        const HEAD: &[u8] = b"40/";
        for byte in bytes {
            let Some(read) = &mut self.read else {
                return true;
            };
            let goes_on = match HEAD.get(*read) {
                Some(expected) => byte == *expected,
                None => byte != b',',
            };
            if !goes_on {
                self.read = None;
                return true;
            }
            *read += 1;
            if *read > HEAD.len() + LONGEST_NAME {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_may_hold_few_connects_and_any_events() {
        let packets = |packet: &str, count| vec![packet; count].join("\u{1e}");
        assert_eq!(check(packets("40{}", 3).as_bytes(), 3), Ok(()));
        assert_eq!(check(packets("42[]", 999).as_bytes(), 3), Ok(()));
        for connect in ["40", "40{}", "40/a,"] {
            let judged = check(packets(connect, 4).as_bytes(), 3);
            assert_eq!(judged, Err(Ending::TooManyRefusals), "{connect}");
        }
    }

    #[test]
    fn a_name_has_a_longest_length_and_what_follows_it_has_not() {
        let name = |length| "n".repeat(length);
        for (packet, expected) in [
            (format!("40/{},", name(1_024)), Ok(())),
            (format!("40/{}", name(1_025)), Err(Ending::Unreadable)),
            (format!("40/a,{{\"token\":\"{}\"}}", name(9_000)), Ok(())),
            (format!("40{{\"token\":\"{}\"}}", name(9_000)), Ok(())),
            (format!("42/{}", name(9_000)), Ok(())),
        ] {
            assert_eq!(check(packet.as_bytes(), 3), expected, "{:.9}", packet);
        }
    }
}
