//! The queue of one client.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::{Bytes, BytesMut};

use super::{packet::SEPARATOR, raw_stream::RawStream};
use crate::wire::Frame;

/// Frames that go out in one system call.
const BATCH: usize = 64;

/// Packets on their way to one client, in order.
#[derive(Default)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are written already.
    written: usize,
    /// What the queue costs in memory.
    weight: usize,
}

/// How much was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    All,
    Some,
    None,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// What the queue costs in memory.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Whether another frame may be queued, with `in_flight` bytes already on their way. A single
    /// frame always may, whatever its size.
    pub(super) fn has_room(&self, frame: &Frame, in_flight: usize, limit: usize) -> bool {
        let held = self.weight + in_flight;
        held == 0 || held + weight(frame) <= limit
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.weight += weight(&frame);
        self.frames.push_back(frame);
    }

    /// Writes a frame at once if nothing is queued; queues what the stream does not take.
    pub(super) fn write_or_push(
        &mut self,
        frame: Frame,
        stream: &mut RawStream,
    ) -> io::Result<Written> {
        if !self.is_empty() {
            self.push(frame);
            return Ok(Written::None);
        }
        let written = match stream.try_write(&[IoSlice::new(frame.bytes())]) {
            Ok(bytes) if bytes == frame.bytes().len() && stream.is_flushed() => {
                return Ok(Written::All);
            }
            Ok(bytes) if bytes == frame.bytes().len() => return Ok(Written::Some),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.push(frame);
        self.written = written;
        Ok(if written == 0 {
            Written::None
        } else {
            Written::Some
        })
    }

    /// Writes as much as the stream takes.
    pub(super) fn write_to(&mut self, stream: &mut RawStream) -> io::Result<Written> {
        let mut written = Written::None;
        while !self.frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); BATCH];
            let mut count = 0;
            let mut skip = self.written;
            for (slice, frame) in slices.iter_mut().zip(&self.frames) {
                *slice = IoSlice::new(&frame.bytes()[std::mem::take(&mut skip)..]);
                count += 1;
            }
            match stream.try_write(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(written),
                Err(error) => return Err(error),
            }
            written = Written::Some;
        }
        match stream.try_flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(written),
            flushed => flushed.map(|()| Written::All),
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        while let Some(first) = self.frames.front()
            && self.written >= first.bytes().len()
        {
            self.written -= first.bytes().len();
            self.weight -= weight(first);
            self.frames.pop_front();
        }
        self.release_if_empty();
    }

    /// The packets for one poll: at least one, and more while they fit.
    pub(super) fn take_payload(&mut self, limit: usize) -> Bytes {
        let (mut count, mut length) = (0, 0);
        for frame in &self.frames {
            let longer = length + usize::from(count > 0) + frame.packet().len();
            if count > 0 && longer > limit {
                break;
            }
            count += 1;
            length = longer;
        }
        let weight = self.frames.iter().take(count).map(weight).sum::<usize>();
        self.weight -= weight;
        let mut packets = self.frames.drain(..count).map(|frame| frame.packet());
        let mut payload = packets.next().unwrap_or_default();
        if count > 1 {
            let mut joined = BytesMut::with_capacity(length);
            joined.extend_from_slice(&payload);
            for packet in packets.by_ref() {
                joined.extend_from_slice(&[SEPARATOR]);
                joined.extend_from_slice(&packet);
            }
            payload = joined.freeze();
        }
        drop(packets);
        self.release_if_empty();
        payload
    }

    /// Drops everything but the rest of a frame that is partly written.
    pub(super) fn abandon(&mut self) {
        let keep = usize::from(self.written > 0);
        self.frames.truncate(keep);
        self.weight = self.frames.iter().map(weight).sum();
        self.release_if_empty();
    }

    /// An empty queue owns no memory.
    fn release_if_empty(&mut self) {
        if self.frames.is_empty() {
            *self = Self::default();
        }
    }
}

/// What a frame costs in memory at the worst: its bytes, its place in a queue that is being copied to
/// one of twice the size, and two allocations.
fn weight(frame: &Frame) -> usize {
    frame.bytes().len() + 3 * size_of::<Frame>() + 64
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        Frame::text(&[text])
    }

    #[test]
    fn a_poll_takes_at_least_one_packet_and_more_while_they_fit() {
        let mut outbox = Outbox::default();
        for text in ["4aaaa", "4bb", "4c"] {
            outbox.push(frame(text));
        }
        assert_eq!(outbox.take_payload(3), "4aaaa");
        assert_eq!(outbox.take_payload(6), "4bb\u{1e}4c");
        assert!(outbox.is_empty());
        assert_eq!(outbox.weight, 0);
    }

    #[test]
    fn a_write_may_end_in_the_middle_of_a_frame() {
        let mut outbox = Outbox::default();
        for text in ["4a", "4bb", "4c"] {
            outbox.push(frame(text));
        }
        outbox.advance(1);
        assert_eq!((outbox.frames.len(), outbox.written), (3, 1));
        outbox.advance(6);
        assert_eq!((outbox.frames.len(), outbox.written), (2, 3));
        // The rest of a frame that is partly written must follow, whatever else is dropped.
        outbox.abandon();
        assert_eq!((outbox.frames.len(), outbox.written), (1, 3));
        outbox.advance(2);
        assert!(outbox.is_empty());
        assert_eq!((outbox.weight, outbox.written), (0, 0));
    }

    #[test]
    fn small_frames_cost_no_more_than_they_weigh() {
        let mut outbox = Outbox::default();
        for length in 0..20_000 {
            outbox.push(frame(&"x".repeat(length % 10)));
            // The allocator gives no less than 16 bytes; a shared frame has a header of 32.
            let bytes = outbox
                .frames
                .iter()
                .map(|frame| frame.bytes().len().next_multiple_of(16) + 32);
            if length.is_power_of_two() {
                let queue = outbox.frames.capacity() * size_of::<Frame>() * 3 / 2;
                let fixed = 8 * size_of::<Frame>();
                assert!(
                    queue + bytes.sum::<usize>() <= outbox.weight + fixed,
                    "{length}"
                );
            }
        }
    }

    #[test]
    fn one_frame_always_fits_and_many_small_ones_are_weighed_with_their_queue() {
        let mut outbox = Outbox::default();
        let large = frame(&"x".repeat(1_000));
        assert!(outbox.has_room(&large, 0, 100));
        outbox.push(large);
        assert!(!outbox.has_room(&frame("4"), 0, 1_000));
        let mut outbox = Outbox::default();
        let mut count = 0;
        while outbox.has_room(&frame("4"), 0, 1_000) {
            outbox.push(frame("4"));
            count += 1;
        }
        assert_eq!(count, 1_000 / weight(&frame("4")));
        assert!(!Outbox::default().has_room(&frame("4"), 1_000, 1_000));
    }
}
