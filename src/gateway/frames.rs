//! The lengths of the WebSocket messages that a client sends, seen while they pass by.
//!
//! The framework refuses a message that is too long, but hangs up without saying why. Counting
//! here lets the connection be closed with the status 1009 that clients know (RFC 6455, 7.4.1).

/// A client's message is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Reads frame headers and skips payloads (RFC 6455, 5.2).
#[derive(Debug)]
pub(super) struct FrameScanner {
    limit: u64,
    header: Vec<u8>,
    /// Bytes of the present frame's payload that have not passed yet.
    rest: u64,
    /// Bytes of the present message, over all its fragments.
    message: u64,
}

impl FrameScanner {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            header: Vec::with_capacity(14),
            rest: 0,
            message: 0,
        }
    }

    /// Takes the next bytes from the client.
    ///
    /// # Errors
    /// The message that they begin or continue is announced to be too long.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let passing = self.rest.min(bytes.len() as u64);
                self.rest -= passing;
                bytes = &bytes[passing as usize..];
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some((opcode, length)) = parse_header(&self.header) {
                self.header.clear();
                self.rest = length;
                match opcode {
                    // A control frame may stand between the fragments of a message.
                    0x8.. => continue,
                    0x0 => self.message = self.message.saturating_add(length),
                    _ => self.message = length,
                }
                if self.message > self.limit {
                    return Err(TooLong);
                }
            }
        }
        Ok(())
    }
}

/// The opcode and the payload's length, once the header is whole.
fn parse_header(header: &[u8]) -> Option<(u8, u64)> {
    let (first, second) = (*header.first()?, *header.get(1)?);
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (extended, length) = match second & 0x7f {
        126 => (
            2,
            u64::from(u16::from_be_bytes(header.get(2..4)?.try_into().ok()?)),
        ),
        127 => (8, u64::from_be_bytes(header.get(2..10)?.try_into().ok()?)),
        short => (0, u64::from(short)),
    };
    (header.len() == 2 + extended + mask).then_some((first & 0x0f, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![opcode];
        match payload {
            0..126 => frame.push(0x80 | payload as u8),
            126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(vec![b'x'; payload]);
        frame
    }

    #[test]
    fn a_message_of_the_limit_passes_and_one_byte_more_does_not() {
        for size in [100, 125, 126, 65_535, 65_536, 1_000_000] {
            let mut scanner = FrameScanner::new(size as u64);
            assert_eq!(scanner.scan(&frame(0x81, size)), Ok(()), "{size}");
            assert_eq!(scanner.scan(&frame(0x82, size)), Ok(()), "{size}");
            assert_eq!(scanner.scan(&frame(0x81, size + 1)), Err(TooLong), "{size}");
        }
    }

    #[test]
    fn fragments_add_up_and_control_frames_do_not_count() {
        let mut scanner = FrameScanner::new(10);
        let pieces = [
            frame(0x01, 6),
            frame(0x89, 100),
            frame(0x00, 4),
            frame(0x80, 0),
        ];
        for byte in pieces.concat() {
            assert_eq!(scanner.scan(&[byte]), Ok(()));
        }
        assert_eq!(scanner.scan(&frame(0x01, 6)), Ok(()));
        assert_eq!(scanner.scan(&frame(0x80, 5)), Err(TooLong));
    }
}
