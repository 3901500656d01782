//! The lengths of the WebSocket messages that a client sends, seen while they pass by.
//!
//! The framework refuses a message that is too long, but hangs up without saying why. Counting
//! here lets the connection be closed with the status 1009 that clients know (RFC 6455, 7.4.1).

use super::packets::NameScanner;

/// What is wrong with a client's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is longer than it may be.
    TooLong,
    /// It asks for a namespace of a name that none can have.
    Unreadable,
}

/// Reads frame headers and skips payloads (RFC 6455, 5.2).
#[derive(Debug)]
pub(super) struct FrameScanner {
    limit: u64,
    header: Vec<u8>,
    /// Bytes of the present frame's payload that have not passed yet.
    rest: u64,
    /// Bytes of the present message, over all its fragments.
    message: u64,
    name: NameScanner,
    /// The present frame's payload may hold a part of a namespace's name.
    in_name: bool,
    mask: [u8; 4],
    /// Bytes of the present frame's payload that have passed, to know their place in the mask.
    passed: usize,
}

impl FrameScanner {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            header: Vec::with_capacity(14),
            rest: 0,
            message: 0,
            name: NameScanner::default(),
            in_name: false,
            mask: [0; 4],
            passed: 0,
        }
    }

    /// Takes the next bytes from the client.
    ///
    /// # Errors
    /// The message that they begin or continue is announced to be too long, or is not to be read.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let passing = self.rest.min(bytes.len() as u64);
                let (payload, behind) = bytes.split_at(passing as usize);
                self.rest -= passing;
                bytes = behind;
                self.scan_name(payload)?;
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some((opcode, length)) = parse_header(&self.header) {
                self.begin_frame(opcode, length)?;
            }
        }
        Ok(())
    }

    fn begin_frame(&mut self, opcode: u8, length: u64) -> Result<(), Fault> {
        if let Some(mask) = self.header.last_chunk() {
            self.mask = *mask;
        }
        self.header.clear();
        self.rest = length;
        self.passed = 0;
        self.in_name = opcode <= OPCODE_TEXT;
        match opcode {
            // A control frame may stand between the fragments of a message.
            0x8.. => return Ok(()),
            0x0 => self.message = self.message.saturating_add(length),
            _ => {
                self.message = length;
                self.name = match opcode {
                    OPCODE_TEXT => NameScanner::of_message(),
                    _ => NameScanner::default(),
                };
            }
        }
        if self.message > self.limit {
            return Err(Fault::TooLong);
        }
        Ok(())
    }

    fn scan_name(&mut self, payload: &[u8]) -> Result<(), Fault> {
        if self.in_name && self.name.is_reading() {
            let (mask, passed) = (self.mask, self.passed);
            let unmasked = |(at, byte): (usize, &u8)| byte ^ mask[(passed + at) % 4];
            self.passed += payload.len();
            if !self.name.read(payload.iter().enumerate().map(unmasked)) {
                return Err(Fault::Unreadable);
            }
        }
        Ok(())
    }
}

const OPCODE_TEXT: u8 = 0x1;

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
            assert_eq!(
                scanner.scan(&frame(0x81, size + 1)),
                Err(Fault::TooLong),
                "{size}"
            );
        }
    }

    #[test]
    fn a_great_namespace_is_found_under_its_mask_and_over_fragments() {
        let masked = |opcode: u8, text: &[u8]| {
            let mask = [7, 99, 250, 1];
            let mut frame = vec![opcode, 0x80 | text.len() as u8];
            frame.extend(mask);
            frame.extend(text.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
            frame
        };
        let fill = |scanner: &mut FrameScanner| {
            (0..20).try_for_each(|_| scanner.scan(&masked(0x00, &[b'n'; 100])))
        };
        let mut scanner = FrameScanner::new(1_000_000);
        scanner.scan(&masked(0x01, b"4")).unwrap();
        scanner.scan(&masked(0x89, b"a ping")).unwrap();
        scanner.scan(&masked(0x00, b"0/")).unwrap();
        assert_eq!(fill(&mut scanner), Err(Fault::Unreadable));
        for (opcode, head) in [(0x01, &b"40{"[..]), (0x01, b"40/a,"), (0x02, b"40/")] {
            let mut scanner = FrameScanner::new(1_000_000);
            scanner.scan(&masked(opcode, head)).unwrap();
            assert_eq!(fill(&mut scanner), Ok(()), "{head:?}");
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
        assert_eq!(scanner.scan(&frame(0x80, 5)), Err(Fault::TooLong));
    }
}
