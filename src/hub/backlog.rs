//! Queued events, limited by their bytes.

use std::collections::VecDeque;

use crate::{
    metrics::{EVENTS_DROPPED, EVENTS_WAITING},
    wire::Event,
};

/// Bytes that may be queued for one user, and for one client that does not know yet that it has joined:
/// room for a busy second, and a tenth of what the worst client may cost.
const LIMIT: usize = 4 * 1024 * 1024;

/// Events in their order.
#[derive(Default)]
pub(super) struct Backlog {
    entries: VecDeque<Entry>,
    weight: usize,
}

/// One entry of the queue.
pub(super) struct Entry {
    pub(super) number: u64,
    /// `None` in place of events that did not fit, the last of which had this number.
    pub(super) event: Option<Event>,
}

impl Backlog {
    /// Adds an event. A single event always fits, whatever its size. One that does not fit is counted,
    /// and a note of the loss takes its place.
    pub(super) fn push(&mut self, number: u64, event: &Event) {
        if self.weight > 0 && self.weight + weight(event) > LIMIT {
            EVENTS_DROPPED.inc();
            return self.push_loss(number);
        }
        self.weight += weight(event);
        EVENTS_WAITING.inc();
        let event = Some(event.clone());
        self.entries.push_back(Entry { number, event });
    }

    /// Notes that the event of this number is lost.
    pub(super) fn push_loss(&mut self, number: u64) {
        match self.entries.back_mut() {
            Some(last) if last.event.is_none() => last.number = number,
            _ => self.entries.push_back(Entry {
                number,
                event: None,
            }),
        }
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        if let Some(event) = &entry.event {
            self.weight -= weight(event);
            EVENTS_WAITING.dec();
        }
        Some(entry)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        let left = self.entries.iter().filter(|entry| entry.event.is_some());
        match left.count() {
            0 => {}
            left => EVENTS_WAITING.sub(left as i64),
        }
    }
}

fn weight(event: &Event) -> usize {
    event.frame().bytes().len() + size_of::<Entry>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EventName;

    fn event(length: usize) -> Event {
        let payload = format!("\"{}\"", "x".repeat(length));
        Event::new(EventName::try_from("e").unwrap(), &payload)
    }

    #[test]
    fn events_are_weighed_and_what_does_not_fit_leaves_one_entry() {
        let mut backlog = Backlog::default();
        let (large, small) = (event(LIMIT), event(1));
        backlog.push(1, &large);
        backlog.push(2, &small);
        backlog.push(5, &small);
        let entry = backlog.pop().unwrap();
        assert_eq!((entry.number, entry.event.is_some()), (1, true));
        assert_eq!(backlog.weight, 0);
        // There is room again, but the note of the loss comes first.
        backlog.push(6, &small);
        let numbers = std::iter::from_fn(|| backlog.pop());
        let numbers = numbers.map(|entry| (entry.number, entry.event.is_some()));
        assert_eq!(numbers.collect::<Vec<_>>(), [(5, false), (6, true)]);
        assert_eq!(backlog.weight, 0);
    }

    #[test]
    fn small_events_are_weighed_with_their_entries() {
        let mut backlog = Backlog::default();
        let event = event(1);
        let fit = LIMIT / weight(&event);
        (0..fit as u64 + 10).for_each(|number| backlog.push(number, &event));
        assert_eq!(backlog.entries.len(), fit + 1);
        assert!(weight(&event) > size_of::<Entry>());
    }
}
