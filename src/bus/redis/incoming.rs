//! Messages from Redis: decodes them, and delivers what the state lets through, in its order.

use std::{sync::PoisonError, time::Duration};

use redis::{PushInfo, PushKind, Value};

use super::{RedisBus, now, state::State};
use crate::{
    bus::{Listener, Logout, LogoutOrder},
    error::chain,
    id::UserId,
    wire::{DecodeError, Inquiry, NodeMessage, UserMessage},
};

impl RedisBus {
    pub(super) fn on_push(&self, generation: u64, push: PushInfo, listener: &dyn Listener) {
        if !matches!(push.kind, PushKind::Message | PushKind::SMessage) {
            return;
        }
        let mut data = push.data.into_iter();
        let (Some(Value::BulkString(channel)), Some(Value::BulkString(message))) =
            (data.next(), data.next())
        else {
            return;
        };
        let channel = String::from_utf8_lossy(&channel);
        let decoded = match self.names.user_of(&channel) {
            Some(user) => self.on_user_message(generation, user, &message, listener),
            None => NodeMessage::decode(&message).map(|message| match message {
                NodeMessage::AskUser { from, seq, user } => {
                    listener.asked(from, seq, Inquiry::User(user));
                }
                NodeMessage::AskTrace { from, seq, lease } => {
                    listener.asked(from, seq, Inquiry::Trace(lease));
                }
                NodeMessage::Traced {
                    number,
                    lines,
                    dropped,
                } => listener.traced(number, lines, dropped),
                NodeMessage::AskStatus { from, seq } => {
                    listener.asked(from, seq, Inquiry::Status);
                }
                message => self.feed(|state| state.node_message(generation, message, now())),
            }),
        };
        if let Err(error) = decoded {
            self.meters.ignored(&error).inc();
            tracing::debug!(why = chain(&error), "ignored a message on the bus");
        }
    }

    fn on_user_message(
        &self,
        generation: u64,
        user: &str,
        bytes: &[u8],
        listener: &dyn Listener,
    ) -> Result<(), DecodeError> {
        // An event of this node is still kept here, so it need not be decoded again.
        if let Some(seq) = self.own_events.recognise(bytes)
            && self.feed_delivering(listener, |state| state.echo(generation, user, seq))
        {
            return Ok(());
        }
        let Ok(user) = UserId::try_from(user) else {
            return Ok(());
        };
        let message = UserMessage::decode(bytes)?;
        self.feed_delivering(listener, |state| state.received(generation, &user, message));
        Ok(())
    }

    /// Like [`Self::feed`], and makes the deliveries that follow before it returns.
    pub(super) fn feed_delivering<T>(
        &self,
        listener: &dyn Listener,
        event: impl FnOnce(&mut State) -> T,
    ) -> T {
        let (told, is_any) = self.feed(|state| {
            let told = event(state);
            (told, state.has_deliveries())
        });
        if !is_any {
            return told;
        }
        let turn = self.delivering.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        let deliveries = self.state().take_deliveries();
        let mut own = Vec::new();
        for delivery in deliveries {
            let user = &delivery.user;
            own.extend(delivery.own.map(|seq| (seq, delivery.over_bus)));
            match delivery.message {
                UserMessage::Emit { event, .. } => {
                    listener.deliver(user, &event);
                }
                UserMessage::SessionChanged { from, seq, session } => {
                    let logout = Logout::replaced_by(&session);
                    listener.log_out(user, LogoutOrder { from, seq, logout });
                }
                UserMessage::Kicked {
                    from,
                    seq,
                    reason,
                    session,
                } => {
                    let logout = Logout {
                        keep: session,
                        reason,
                    };
                    listener.log_out(user, LogoutOrder { from, seq, logout });
                }
                UserMessage::SessionHeld { session, age_ms } => {
                    listener.session_held(user, session, Duration::from_millis(age_ms));
                }
            }
        }
        if !own.is_empty() {
            self.feed(|state| state.delivered(&own));
        }
        told
    }
}
