//! A connection under its lock: sending, timers, and what has to happen once the lock is free.

use std::{
    io,
    ops::{Deref, DerefMut},
    sync::MutexGuard,
    time::Duration,
};

use super::{
    super::{access::Departure, engine::TransportKind, outbox::Written, packet, ticker::Tick},
    Connection, Ending,
    state::{LastWord, Membership, Phase, State, Transport, Upgrade},
};
use crate::{
    auth::unix_time,
    hub::Farewell,
    metrics::OUTBOUND_QUEUED_BYTES,
    node::Admitted,
    wire::{Frame, Step},
};

/// A token's expiry is checked at least this often, because the system's clock can be set.
const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// A locked connection. Dropping it schedules the next tick, unlocks, and wakes the tasks that have
/// work.
pub(super) struct Locked<'a> {
    pub(super) connection: &'a Connection,
    state: Option<MutexGuard<'a, State>>,
    /// Whether to wake the task.
    pub(super) wakes_task: bool,
    /// Whether to wake the pending poll.
    pub(super) wakes_poll: bool,
    /// Why the connection began to end under this lock, to be counted and logged.
    pub(super) ending: Option<Ending>,
    /// The client's transport, known even if the connection ends under this lock.
    pub(super) kind: Option<TransportKind>,
    /// What was queued when it was locked.
    queued: usize,
}

impl<'a> Locked<'a> {
    pub(super) fn new(connection: &'a Connection, state: MutexGuard<'a, State>) -> Self {
        Self {
            connection,
            queued: state.outbox.weight(),
            kind: state.transport.kind(),
            state: Some(state),
            wakes_task: false,
            wakes_poll: false,
            ending: None,
        }
    }

    /// Sends or queues a packet; ends the connection of a client for which too much is queued.
    pub(super) fn send(&mut self, frame: Frame) {
        let limit = self.connection.limits.outbound_buffer;
        if !self.outbox.has_room(&frame, self.in_flight, limit) {
            return self.end(Ending::SlowReader);
        }
        let state = &mut **self;
        let written = match &mut state.transport {
            Transport::WebSocket(stream) => state.outbox.write_or_push(frame, stream),
            _ => return self.push(frame),
        };
        self.written(written);
    }

    /// Sends a packet to an open connection; `false` if it is not open, or no longer.
    pub(super) fn tell(&mut self, frame: Frame) -> bool {
        if self.phase == Phase::Open {
            self.send(frame);
        }
        self.phase == Phase::Open
    }

    /// Queues a packet, without a limit.
    pub(super) fn push(&mut self, frame: Frame) {
        self.outbox.push(frame);
        self.wakes_poll = true;
    }

    /// Writes what is queued to the WebSocket, if there is one.
    pub(super) fn flush(&mut self) {
        let state = &mut **self;
        if let Transport::WebSocket(stream) = &mut state.transport {
            let written = state.outbox.write_to(stream);
            self.written(written);
        }
    }

    fn written(&mut self, written: io::Result<Written>) {
        let connection = self.connection;
        let state = &mut **self;
        match written {
            Ok(Written::All) => {
                if state.phase == Phase::Open {
                    state.cut_at = Tick::NEVER;
                } else if let Transport::WebSocket(stream) = &mut state.transport {
                    stream.finish();
                }
            }
            Ok(written) => {
                let has_moved = written == Written::Some || state.cut_at == Tick::NEVER;
                if has_moved && state.phase == Phase::Open {
                    state.cut_at = connection
                        .engine
                        .ticker
                        .after(connection.limits.write_stall);
                }
                // The task waits until the stream takes more.
                self.wakes_task = true;
            }
            Err(_) => self.finish(LastWord::Close),
        }
    }

    /// Does what is due. Returns the admission of a client that is gone.
    pub(super) fn tick(&mut self, now: Tick) -> Option<Admitted> {
        if now < self.wake_at {
            return None;
        }
        self.wake_at = Tick::NEVER;
        if self.cut_at <= now {
            match self.phase {
                Phase::Open => self.cut(Ending::WriteStalled),
                Phase::Closing | Phase::Ended(_) => self.finish(LastWord::Close),
            }
        }
        if self.join_by <= now && self.phase == Phase::Open {
            self.end(Ending::NotJoined);
        }
        if self.expiry_at <= now {
            self.check_expiry();
        }
        if self.ping_at <= now {
            self.heartbeat(now);
        }
        if self.phase == Phase::Open {
            return None;
        }
        match std::mem::replace(&mut self.membership, Membership::Out) {
            Membership::In(admitted) => Some(admitted),
            other => {
                self.membership = other;
                None
            }
        }
    }

    /// Dismisses a client whose token has expired, or schedules the next check.
    pub(super) fn check_expiry(&mut self) {
        self.expiry_at = match self.expires_at {
            Some(at) if unix_time() >= at.get() => {
                self.dismiss(&Farewell::TokenExpired);
                Tick::NEVER
            }
            Some(at) => {
                let left = Duration::from_secs(at.get().saturating_sub(unix_time()));
                self.connection
                    .engine
                    .ticker
                    .after(left.min(EXPIRY_CHECK_INTERVAL))
            }
            None => Tick::NEVER,
        };
    }

    /// Pings, or ends the connection of a client that has not answered the last ping or has reached the
    /// longest age.
    fn heartbeat(&mut self, now: Tick) {
        if self.phase != Phase::Open {
            return;
        }
        if self.awaits_pong {
            return self.end(Ending::PingTimeout);
        }
        if self.move_at() <= now {
            return self.end(Ending::TooOld);
        }
        let engine = &self.connection.engine;
        self.awaits_pong = true;
        self.ping_at = engine.ticker.after(engine.socketio.ping_timeout);
        self.send(packet::PING);
    }

    pub(super) fn pong(&mut self) {
        let engine = &self.connection.engine;
        if self.awaits_pong {
            self.awaits_pong = false;
            self.ping_at = engine.ticker.after(engine.socketio.ping_interval);
            self.schedule_move();
        }
    }

    /// Schedules the move of the client in place of the next ping, if it is due sooner. A move has no timer
    /// of its own, so that connections cost nothing more while no age is configured.
    pub(super) fn schedule_move(&mut self) {
        if !self.awaits_pong {
            self.ping_at = self.ping_at.min(self.move_at());
        }
    }

    /// When the client has to reconnect, by the longest age that is configured now: within its last fifth,
    /// at a time derived from the connection's id, so that clients that came together do not leave
    /// together.
    fn move_at(&self) -> Tick {
        let Connection { engine, sid, .. } = self.connection;
        let Some(longest) = engine.current.load().max_connection_age else {
            return Tick::NEVER;
        };
        let sooner = longest / 5 * u32::from(sid.random()) / u32::from(u16::MAX);
        self.joined_at.plus(longest - sooner)
    }

    /// How the socket ends, for the access log.
    pub(super) fn departure(&self, why: &'static str) -> Departure {
        let connection = self.connection;
        Departure {
            kind: self.kind,
            address: connection.address,
            duration_ms: self.age_ms(),
            why,
        }
    }

    /// Milliseconds since the client joined.
    pub(super) fn age_ms(&self) -> u64 {
        self.connection.engine.ticker.now().since(self.joined_at)
    }

    /// Records a step of a client that has joined, if its user is traced.
    pub(super) fn trace<'s>(&'s self, step: impl FnOnce(&'s Self) -> Step<'s>) {
        let user = match &self.membership {
            Membership::Entering(user) => user,
            Membership::In(admitted) => admitted.user(),
            Membership::Out | Membership::Joining | Membership::Leaving => return,
        };
        let traces = self.connection.engine.entrance.traces();
        traces.record(user, || step(self));
    }

    pub(super) fn is_probed(&self) -> bool {
        matches!(self.transport, Transport::Polling(Upgrade::Probed))
    }

    /// When the ticker has to call.
    fn due_at(&self) -> Tick {
        match self.phase {
            Phase::Open => {
                let limits = self.join_by.min(self.expiry_at).min(self.cut_at);
                self.ping_at.min(limits)
            }
            Phase::Closing => self.cut_at,
            Phase::Ended(_) => Tick::NEVER,
        }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state
            .as_ref()
            .expect("the guard is there until it is dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state
            .as_mut()
            .expect("the guard is there until it is dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let is_gone = self.phase != Phase::Open && matches!(self.membership, Membership::In(_));
        let ticker = &self.connection.engine.ticker;
        // The ticker drops the admission at once. It cannot be dropped here: the hub may hold its own lock.
        let due = if is_gone { ticker.now() } else { self.due_at() };
        // An early call does no harm, but one that is no longer needed keeps the connection's memory.
        if due < self.wake_at || due == Tick::NEVER {
            ticker.reschedule(&self.connection.me, self.wake_at, due);
            self.wake_at = due;
        }
        let queued = self.outbox.weight();
        if queued != self.queued {
            OUTBOUND_QUEUED_BYTES.add(queued as i64 - self.queued as i64);
        }
        if let Some(ending) = self.ending {
            self.trace(|locked| Step::Ended {
                why: ending.label(),
                transport: locked.kind.map(TransportKind::label),
                address: locked.connection.shown_address(),
                duration_ms: locked.age_ms(),
            });
        }
        let departure = self.ending.map(|ending| self.departure(ending.label()));
        let (wakes_task, wakes_poll) = (self.wakes_task, self.wakes_poll);
        let task = wakes_task.then(|| self.task.take()).flatten();
        let poll = wakes_poll.then(|| self.poll.take()).flatten();
        self.state = None;
        task.into_iter().chain(poll).for_each(|waker| waker.wake());
        if let (Some(ending), Some(departure)) = (self.ending, departure) {
            let connection = self.connection;
            connection.engine.meters.ended(ending).inc();
            let access = &connection.engine.access;
            access.left(&connection.sid, &departure);
            let address = connection.address.map(tracing::field::display);
            match ending {
                Ending::Dismissed => {
                    tracing::info!(sid = %connection.sid, address, "dismissed a socket")
                }
                _ => {
                    tracing::debug!(sid = %connection.sid, address, ?ending, "ending a connection")
                }
            }
        }
    }
}
