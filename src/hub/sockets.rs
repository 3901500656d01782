//! The sockets of one user.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{
    Outlet,
    backlog::{Backlog, Entry},
};
use crate::{id::SessionId, wire::Event};

/// Fewer vacant slots than this are not worth removing.
const FEW: usize = 8;

/// Admitted sockets in the order of their admission, found by a number that only grows. The first
/// costs no vector.
#[derive(Default)]
pub(super) struct Sockets {
    slots: SmallVec<[Slot; 1]>,
    len: usize,
}

struct Slot {
    number: u64,
    /// `None` once the socket is gone. Vacant slots are removed together, so that thousands of
    /// sockets leave in linear time.
    socket: Option<Socket>,
}

pub(super) struct Socket {
    pub(super) session: SessionId,
    pub(super) outlet: Arc<dyn Outlet>,
    stage: Stage,
}

enum Stage {
    /// The client does not know yet that it has joined, and its events wait.
    Admitted(Box<Backlog>),
    Live,
}

impl Sockets {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number of slots to visit.
    pub(super) fn span(&self) -> usize {
        self.slots.len()
    }

    /// Adds a socket with a number above all others.
    pub(super) fn push(&mut self, number: u64, socket: Socket) {
        let socket = Some(socket);
        self.slots.push(Slot { number, socket });
        self.len += 1;
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Socket> {
        let index = self.index(number)?;
        self.slots[index].socket.as_mut()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Socket> {
        let index = self.index(number)?;
        let removed = self.slots[index].socket.take()?;
        self.len -= 1;
        if self.slots.len() > 2 * self.len + FEW || self.len == 0 {
            self.compact();
        }
        Some(removed)
    }

    /// Removes those with a number below `before` that `is_removed` picks, and returns them with their
    /// numbers.
    pub(super) fn remove_all(
        &mut self,
        before: u64,
        is_removed: impl Fn(&Socket) -> bool,
    ) -> Vec<(u64, Socket)> {
        let mut removed = Vec::new();
        let end = self.slots.partition_point(|slot| slot.number < before);
        for slot in &mut self.slots[..end] {
            let socket = slot.socket.take_if(|socket| is_removed(socket));
            removed.extend(socket.map(|socket| (slot.number, socket)));
        }
        self.len -= removed.len();
        self.compact();
        removed
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Socket> {
        self.slots.iter().filter_map(|slot| slot.socket.as_ref())
    }

    /// The sockets with a number in this range, in order; vacant slots are visited too.
    pub(super) fn range_mut(
        &mut self,
        from: u64,
        before: u64,
    ) -> impl Iterator<Item = (u64, Option<&mut Socket>)> {
        let start = self.slots.partition_point(|slot| slot.number < from);
        let slots = self.slots[start..].iter_mut();
        slots
            .take_while(move |slot| slot.number < before)
            .map(|slot| (slot.number, slot.socket.as_mut()))
    }

    fn index(&self, number: u64) -> Option<usize> {
        self.slots
            .binary_search_by_key(&number, |slot| slot.number)
            .ok()
    }

    fn compact(&mut self) {
        self.slots.retain(|slot| slot.socket.is_some());
        if self.slots.spilled() && self.slots.capacity() > 2 * self.slots.len() {
            self.slots.shrink_to_fit();
        }
    }
}

impl Socket {
    pub(super) fn new(session: SessionId, outlet: Arc<dyn Outlet>) -> Self {
        let stage = Stage::Admitted(Box::default());
        Self {
            session,
            outlet,
            stage,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live)
    }

    /// Takes the next event, or the news that events were lost. Returns whether an event was sent.
    pub(super) fn take(&mut self, number: u64, event: Option<&Event>) -> bool {
        match (&mut self.stage, event) {
            (Stage::Live, Some(event)) => self.outlet.send(event),
            (Stage::Live, None) => {
                self.outlet.overrun();
                false
            }
            (Stage::Admitted(waiting), Some(event)) => {
                waiting.push(number, event);
                false
            }
            (Stage::Admitted(waiting), None) => {
                waiting.push_loss(number);
                false
            }
        }
    }

    /// Sends up to `limit` of the waiting events, and goes live when none is left. Returns the
    /// number of events sent, and whether the socket is live.
    pub(super) fn activate(&mut self, limit: usize) -> (u64, bool) {
        let mut sent = 0;
        if let Stage::Admitted(waiting) = &mut self.stage {
            for _ in 0..limit {
                match waiting.pop() {
                    Some(Entry {
                        event: Some(event), ..
                    }) => sent += u64::from(self.outlet.send(&event)),
                    Some(Entry { event: None, .. }) => self.outlet.overrun(),
                    None => break,
                }
            }
            if !waiting.is_empty() {
                return (sent, false);
            }
            self.stage = Stage::Live;
        }
        (sent, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{About, Farewell};

    struct Nobody;

    impl Outlet for Nobody {
        fn send(&self, _: &Event) -> bool {
            true
        }

        fn overrun(&self) {}

        fn dismiss(&self, _: &Farewell) -> bool {
            true
        }

        fn about(&self) -> Option<About> {
            None
        }
    }

    fn socket(session: &str) -> Socket {
        let session = SessionId::try_from(session).unwrap();
        Socket::new(session, Arc::new(Nobody))
    }

    fn numbers(sockets: &mut Sockets, from: u64, before: u64) -> Vec<u64> {
        let range = sockets.range_mut(from, before);
        range
            .filter_map(|(number, socket)| socket.map(|_| number))
            .collect()
    }

    #[test]
    fn the_first_socket_costs_no_vector_and_neither_does_the_last() {
        let mut sockets = Sockets::default();
        sockets.push(7, socket("a"));
        assert!(!sockets.slots.spilled());
        (8..100).for_each(|number| sockets.push(number, socket("a")));
        assert!(sockets.slots.spilled());
        (8..100).for_each(|number| drop(sockets.remove(number)));
        assert!(sockets.slots.capacity() <= 2 * (FEW + 2));
        assert_eq!(numbers(&mut sockets, 0, 100), [7]);
        assert!(sockets.remove(7).is_some() && sockets.remove(7).is_none());
        assert_eq!((sockets.len(), sockets.span()), (0, 0));
    }

    /// Slots are moved only when at least half of them are vacant, so all moves together are linear.
    #[test]
    fn ten_thousand_sockets_leave_in_linear_work() {
        const COUNT: u64 = 10_000;
        let mut sockets = Sockets::default();
        (0..COUNT).for_each(|number| sockets.push(number, socket("a")));
        let (mut moved, mut span) = (0, sockets.span());
        // 7,919 has no factor in common with the count, so this is each number once.
        for number in (0..COUNT).map(|index| index * 7_919 % COUNT) {
            assert!(sockets.remove(number).is_some());
            if sockets.span() < span {
                moved += sockets.span();
                span = sockets.span();
            }
            assert!(sockets.span() <= 2 * sockets.len() + FEW);
        }
        assert_eq!(sockets.len(), 0);
        assert!(moved <= COUNT as usize, "{moved} slots were moved");
    }

    #[test]
    fn a_range_is_exact_whatever_has_left() {
        let mut sockets = Sockets::default();
        (0..40).for_each(|number| sockets.push(number * 2, socket("a")));
        (0..30).for_each(|number| drop(sockets.remove(number * 2)));
        assert_eq!(numbers(&mut sockets, 61, 67), [62, 64, 66]);
        let removed = sockets.remove_all(64, |_| true);
        assert_eq!((removed.len(), sockets.len()), (2, 8));
        assert_eq!(numbers(&mut sockets, 0, 67), [64, 66]);
    }

    #[test]
    fn a_socket_is_small() {
        assert_eq!(size_of::<Slot>(), 48);
    }
}
