//! What is going to happen in a run, all of it chosen by the seed before it begins.

use std::time::Duration;

use super::network::{Direction, Which};

pub(super) const USERS: usize = 2;
/// A week, as by default.
pub(super) const LONG_TTL: Duration = Duration::from_secs(604_800);
/// So short that sessions are renewed several times in a run, and forgotten in an outage.
const SHORT_TTL: Duration = Duration::from_secs(8);
/// For how long things happen, in milliseconds.
const ACTION: u64 = 8_000;

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    /// How long Redis remembers a session.
    pub(super) ttl: Duration,
    /// Steps and the milliseconds at which they are taken.
    pub(super) steps: Vec<(u64, Step)>,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A client comes with a token of this session. One that is `faithful` comes back, by way of another
    /// node, when its own has gone.
    Connect {
        user: usize,
        session: usize,
        node: usize,
        faithful: bool,
    },
    /// A client leaves, now or before it has connected, or its token expires.
    HangUp {
        client: usize,
    },
    /// A backend replaces the user's session.
    LogIn {
        user: usize,
        session: usize,
        node: usize,
        patience: Patience,
    },
    /// A backend kicks the user; with a fresh session, that becomes the active one.
    Kick {
        user: usize,
        fresh: Option<usize>,
        node: usize,
    },
    /// A backend sends an event.
    Emit {
        user: usize,
        node: usize,
        patience: Patience,
    },
    /// An operator asks for the user's sockets, or how all nodes are.
    Ask {
        user: Option<usize>,
        node: usize,
    },
    /// An operator traces a user for this long.
    Trace {
        user: usize,
        node: usize,
        time: Duration,
    },
    /// Somebody else writes the stored session of a user, and tells nobody.
    Meddle {
        user: usize,
        what: Meddling,
    },
    Fault(Fault),
    /// The node's process is gone in an instant; another takes its place.
    Kill {
        node: usize,
    },
    /// The node ends in good order; another takes its place.
    Drain {
        node: usize,
    },
}

/// How long a backend waits for the answer before it hangs up, if it does.
pub(super) type Patience = Option<Duration>;

#[derive(Debug, Clone, Copy)]
pub(super) enum Meddling {
    /// Another session, as the TypeScript server stores it.
    Session(usize),
    /// The session as it is, in another spelling.
    Respelt,
    /// A value that means that there is none.
    Null,
    Deleted,
}

#[derive(Debug, Clone)]
pub(super) enum Fault {
    Cut(usize, Which),
    Lose(usize, Which, Direction),
    Stall(usize, Which, Direction, Duration),
    Slow(usize, Which, Direction, Duration),
    Freeze(Duration),
    Restart {
        down: Duration,
        keeps_data: bool,
    },
    Flush,
    Full(Duration),
    ReadOnly(Duration),
    Mute(Duration),
    /// The master dies, and a replica takes over that has not got the last writes.
    FailOver {
        lag: Duration,
        down: Duration,
    },
    /// A replica takes over while the old master still believes for a while that it is the master.
    /// It keeps its connections, and is a replica in the end that refuses writes and does not keep
    /// up.
    Split {
        lag: Duration,
        unaware: Duration,
    },
}

impl Step {
    /// Whether what happens close to it is more likely to go wrong.
    fn is_trouble(&self) -> bool {
        use Step::{Drain, Fault, Kill, Meddle};
        matches!(self, Fault(_) | Kill { .. } | Drain { .. } | Meddle { .. })
    }
}

/// Chooses a plan.
pub(super) fn plan(rng: &mut fastrand::Rng) -> Plan {
    // One that is alone knows that its events are complete, also while Redis is away.
    let nodes = match rng.u8(0..12) {
        0 => 1,
        1..5 => 3,
        _ => 2,
    };
    let ttl = if rng.u8(0..4) == 0 {
        SHORT_TTL
    } else {
        LONG_TTL
    };
    let mut chooser = Chooser {
        rng,
        nodes,
        users: 0,
        sessions: [0; USERS],
        clients: 0,
        steps: Vec::new(),
    };
    chooser.users = chooser.rng.usize(1..=USERS);
    chooser.first_clients();
    chooser.trouble();
    chooser.bursts();
    chooser.questions();
    let mut steps = chooser.steps;
    steps.sort_by_key(|(at, _)| *at);
    Plan { nodes, ttl, steps }
}

struct Chooser<'a> {
    rng: &'a mut fastrand::Rng,
    nodes: usize,
    users: usize,
    /// By user: the newest session so far.
    sessions: [usize; USERS],
    clients: usize,
    steps: Vec<(u64, Step)>,
}

impl Chooser<'_> {
    fn first_clients(&mut self) {
        for user in 0..self.users {
            // Sessions that race for a user who has none.
            let rivals = if self.rng.u8(0..4) == 0 { 1 } else { 0 };
            let close = self.rng.bool();
            self.sessions[user] = rivals;
            for number in 0..self.rng.usize(1..=3) + rivals {
                let at = self.rng.u64(0..if close { 40 } else { 1_500 }) + 400;
                let session = if number == 0 {
                    0
                } else {
                    self.rng.usize(0..=rivals)
                };
                self.connect(at, user, session);
            }
        }
    }

    fn trouble(&mut self) {
        for _ in 0..self.rng.usize(0..=2) {
            let at = self.rng.u64(500..ACTION - 2_000);
            let node = self.node();
            let fault = self.fault(node);
            if let Fault::Split { unaware, .. } = fault
                && self.rng.bool()
            {
                self.login_behind_the_old_master(at, unaware);
            }
            self.steps.push((at, Step::Fault(fault)));
            // Trouble seldom comes alone: what one node misses, another is late to make up for.
            if self.rng.bool() {
                let node = if self.rng.u8(0..3) == 0 {
                    node
                } else {
                    (node + 1) % self.nodes
                };
                let fault = match self.rng.u8(0..6) {
                    0 => Fault::Flush,
                    _ => self.link_fault(node),
                };
                self.steps
                    .push((at + self.rng.u64(0..2_000), Step::Fault(fault)));
            }
        }
        if self.rng.u8(0..8) == 0 {
            self.events_over_slow_links();
        }
        if self.rng.u8(0..4) == 0 {
            let node = self.node();
            let step = if self.rng.bool() {
                Step::Kill { node }
            } else {
                Step::Drain { node }
            };
            self.steps.push((self.rng.u64(500..ACTION), step));
        }
        if self.rng.u8(0..6) == 0 {
            let user = self.rng.usize(0..self.users);
            let what = match self.rng.u8(0..5) {
                0 => Meddling::Session(self.next_session(user)),
                1 => Meddling::Respelt,
                2 | 3 => Meddling::Null,
                _ => Meddling::Deleted,
            };
            let at = self.rng.u64(500..ACTION);
            self.steps.push((at, Step::Meddle { user, what }));
            // A login and handshakes right behind it.
            if self.rng.bool() {
                let before = self.sessions[user];
                let session = self.next_session(user);
                for session in [before, session] {
                    let after = self.rng.u64(0..50);
                    self.connect(at + after, user, session);
                }
                let step = Step::LogIn {
                    user,
                    session,
                    node: self.node(),
                    patience: None,
                };
                self.steps.push((at + self.rng.u64(0..100), step));
            }
        }
    }

    /// One node has found the new master, and events go through others.
    fn login_behind_the_old_master(&mut self, at: u64, unaware: Duration) {
        let node = self.node();
        self.steps
            .push((at + 1, Step::Fault(Fault::Cut(node, Which::Both))));
        let mut at = at + unaware.as_millis() as u64 + self.rng.u64(0..500);
        let user = self.rng.usize(0..self.users);
        let login = Step::LogIn {
            user,
            session: self.next_session(user),
            node,
            patience: None,
        };
        self.steps.push((at, login));
        for _ in 0..4 {
            at += self.rng.u64(0..80);
            let event = Step::Emit {
                user,
                node: self.node(),
                patience: None,
            };
            self.steps.push((at, event));
        }
    }

    /// Events come back so late that they are given up, and looking at the session takes as long.
    fn events_over_slow_links(&mut self) {
        let (node, user) = (self.node(), self.rng.usize(0..self.users));
        let mut at = self.rng.u64(1_500..5_000);
        for (which, direction) in [
            (Which::Subscriber, Direction::FromRedis),
            (Which::Commands, Direction::ToRedis),
        ] {
            let slow = Fault::Slow(node, which, direction, self.time(1_200));
            self.steps.push((at, Step::Fault(slow)));
        }
        for _ in 0..6 {
            at += self.rng.u64(0..400);
            let event = Step::Emit {
                user,
                node,
                patience: None,
            };
            self.steps.push((at, event));
        }
    }

    /// What matters happens close to each other, and often close to trouble.
    fn bursts(&mut self) {
        let troubles = self.steps.iter().filter(|(_, step)| step.is_trouble());
        let troubles: Vec<u64> = troubles.map(|(at, _)| *at).collect();
        for _ in 0..self.rng.usize(3..=8) {
            let mut at = match self.rng.choice(&troubles) {
                Some(trouble) if self.rng.u8(0..4) > 0 => {
                    (trouble + self.rng.u64(0..4_000)).saturating_sub(200)
                }
                _ => self.rng.u64(500..ACTION),
            };
            let user = self.rng.usize(0..self.users);
            let pace = *self.rng.choice(&[3, 30, 400]).unwrap_or(&3);
            for _ in 0..self.rng.usize(1..=7) {
                at += self.rng.u64(0..=pace);
                self.action(at, pace, user);
            }
        }
    }

    /// Operators look at what happens, and more often where there is trouble.
    fn questions(&mut self) {
        if self.rng.bool() {
            return;
        }
        let steps: Vec<u64> = self.steps.iter().map(|(at, _)| *at).collect();
        for _ in 0..self.rng.usize(1..=3) {
            let near = self.rng.choice(&steps).copied().unwrap_or(500);
            let at = near + self.rng.u64(0..300);
            let node = self.node();
            let user = self.rng.usize(0..self.users);
            let step = match self.rng.u8(0..4) {
                0 => Step::Ask { user: None, node },
                1 => Step::Trace {
                    user,
                    node,
                    time: self.time(6_000),
                },
                _ => Step::Ask {
                    user: Some(user),
                    node,
                },
            };
            self.steps.push((at, step));
        }
    }

    fn action(&mut self, at: u64, pace: u64, user: usize) {
        let node = self.node();
        if self.rng.bool() {
            let at = at + self.rng.u64(0..=pace * 2);
            let patience = self.patience();
            self.steps.push((
                at,
                Step::Emit {
                    user,
                    node,
                    patience,
                },
            ));
        }
        match self.rng.u8(0..11) {
            0..5 => {
                let patience = self.patience();
                self.steps.push((
                    at,
                    Step::Emit {
                        user,
                        node,
                        patience,
                    },
                ));
            }
            5 | 6 => {
                let session = self.next_session(user);
                if self.rng.bool() {
                    let after = self.rng.u64(0..=pace * 2);
                    self.connect(at + after, user, session);
                }
                let patience = self.patience();
                let step = Step::LogIn {
                    user,
                    session,
                    node,
                    patience,
                };
                self.steps.push((at, step));
            }
            7 | 8 => {
                let old = usize::from(self.rng.u8(0..3) == 0);
                let session = self.sessions[user].saturating_sub(old);
                self.connect(at, user, session);
            }
            9 => {
                let client = self.rng.usize(0..self.clients);
                self.steps.push((at, Step::HangUp { client }));
            }
            _ => {
                let invalidates = self.rng.bool();
                let fresh = invalidates.then(|| self.next_session(user));
                self.steps.push((at, Step::Kick { user, fresh, node }));
            }
        }
    }

    fn connect(&mut self, at: u64, user: usize, session: usize) {
        self.clients += 1;
        let step = Step::Connect {
            user,
            session,
            node: self.node(),
            faithful: self.rng.bool(),
        };
        self.steps.push((at, step));
    }

    fn node(&mut self) -> usize {
        self.rng.usize(0..self.nodes)
    }

    fn next_session(&mut self, user: usize) -> usize {
        self.sessions[user] += 1;
        self.sessions[user]
    }

    fn patience(&mut self) -> Patience {
        let hangs_up = self.rng.u8(0..12) == 0;
        hangs_up.then(|| self.time(400))
    }

    fn fault(&mut self, node: usize) -> Fault {
        let down = self.time(2_000);
        match self.rng.u8(0..16) {
            0 => Fault::Freeze(self.time(5_000)),
            1 => Fault::Restart {
                down,
                keeps_data: self.rng.bool(),
            },
            2 => Fault::Flush,
            3 => Fault::Full(self.time(4_000)),
            4 => Fault::ReadOnly(self.time(4_000)),
            5 => Fault::Mute(self.time(4_000)),
            6 => Fault::FailOver {
                lag: self.time(1_000),
                down,
            },
            7 => Fault::Split {
                lag: self.time(1_000),
                unaware: down,
            },
            _ => self.link_fault(node),
        }
    }

    fn link_fault(&mut self, node: usize) -> Fault {
        let rng = &mut *self.rng;
        let which = [Which::Commands, Which::Subscriber, Which::Both][rng.usize(0..3)];
        let direction =
            [Direction::ToRedis, Direction::FromRedis, Direction::Both][rng.usize(0..3)];
        match rng.u8(0..8) {
            0 => Fault::Cut(node, which),
            1 => Fault::Lose(node, which, direction),
            2..5 => Fault::Stall(node, which, direction, self.time(7_000)),
            _ => Fault::Slow(node, which, direction, self.time(1_200)),
        }
    }

    fn time(&mut self, longest: u64) -> Duration {
        Duration::from_millis(self.rng.u64(20..longest))
    }
}
