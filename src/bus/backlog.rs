//! Messages held back while a node makes up for what it has missed.

use crate::{id::UserId, wire::UserMessage};

/// How many messages may wait.
const MESSAGES: usize = 64 * 1024;
/// How many bytes of payload may wait: a payload is up to a megabyte, and most are small.
const BYTES: usize = 64 << 20;

/// The messages on users' channels, in their order and within bounds.
#[derive(Debug, Default)]
pub struct Backlog {
    messages: Vec<(UserId, UserMessage)>,
    bytes: usize,
}

impl Backlog {
    /// Keeps the message; an event that does not fit is dropped, counted, and `false` is answered.
    pub fn keep(&mut self, user: UserId, message: UserMessage) -> bool {
        if let UserMessage::Emit { event, .. } = &message {
            let bytes = self.bytes + event.payload.get().len();
            if self.messages.len() >= MESSAGES || bytes > BYTES {
                metrics::counter!("sockd_bus_messages_dropped_total").increment(1);
                return false;
            }
            self.bytes = bytes;
        }
        self.messages.push((user, message));
        true
    }

    pub fn into_messages(self) -> Vec<(UserId, UserMessage)> {
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::{
        id::{EventName, NodeId, SessionId},
        wire::Event,
    };

    fn emit(bytes: usize) -> UserMessage {
        let payload = RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap();
        UserMessage::Emit {
            from: NodeId::try_from("n").unwrap(),
            seq: 1,
            event: Event {
                name: EventName::try_from("a").unwrap(),
                payload: payload.into(),
            },
        }
    }

    fn user() -> UserId {
        UserId::try_from("u").unwrap()
    }

    #[test]
    fn events_are_kept_up_to_a_number_and_a_size() {
        let mut many = Backlog::default();
        assert!((0..MESSAGES).all(|_| many.keep(user(), emit(1))));
        assert!(!many.keep(user(), emit(1)));

        let mut large = Backlog::default();
        assert!((0..BYTES >> 20).all(|_| large.keep(user(), emit((1 << 20) - 2))));
        assert!(!large.keep(user(), emit(1)));
    }

    #[test]
    fn a_change_of_session_is_kept_whatever_else_waits() {
        let mut backlog = Backlog::default();
        while backlog.keep(user(), emit(1 << 20)) {}
        let changed = UserMessage::SessionChanged {
            from: NodeId::try_from("n").unwrap(),
            seq: 2,
            session: SessionId::try_from("s").unwrap(),
        };
        assert!(backlog.keep(user(), changed));
        let last = backlog.into_messages().pop();
        assert!(matches!(
            last,
            Some((_, UserMessage::SessionChanged { .. }))
        ));
    }
}
