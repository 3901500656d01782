//! What is going to happen in a run, all of it chosen by the seed before it begins.

use std::time::Duration;

use super::link::{Direction, Which};

pub(super) const NODES: usize = 2;
pub(super) const USERS: usize = 2;
/// How long things happen, in milliseconds.
const ACTION: u64 = 8_000;

/// Steps and the milliseconds at which they are taken.
pub(super) type Plan = Vec<(u64, Step)>;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A client comes with a token of this session.
    Connect {
        user: usize,
        session: usize,
        node: usize,
    },
    /// One of the clients that are there or about to be goes.
    HangUp {
        client: usize,
    },
    /// A backend replaces the user's session.
    LogIn {
        user: usize,
        session: usize,
        node: usize,
    },
    /// A backend sends an event.
    Emit {
        user: usize,
        node: usize,
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

#[derive(Debug, Clone)]
pub(super) enum Fault {
    Cut(usize, Which),
    Lose(usize, Which, Direction),
    Stall(usize, Which, Direction, Duration),
    Slow(usize, Which, Direction, Duration),
    Freeze(Duration),
    Restart { down: Duration, keeps_data: bool },
    Flush,
    Full(Duration),
    ReadOnly(Duration),
    Mute(Duration),
    FailOver { lag: Duration, down: Duration },
}

/// Chooses a plan.
pub(super) fn plan(rng: &mut fastrand::Rng) -> Plan {
    let mut plan = Plan::new();
    let mut sessions = [0; USERS];
    let mut clients = 0;
    let users = rng.usize(1..=USERS);
    for user in 0..users {
        for _ in 0..rng.usize(1..=3) {
            clients += 1;
            plan.push((
                rng.u64(0..1_500),
                Step::Connect {
                    user,
                    session: 0,
                    node: rng.usize(0..NODES),
                },
            ));
        }
    }
    for _ in 0..rng.usize(0..=3) {
        plan.push((rng.u64(500..ACTION), Step::Fault(fault(rng))));
    }
    if rng.u8(0..4) == 0 {
        let node = rng.usize(0..NODES);
        let step = if rng.bool() {
            Step::Kill { node }
        } else {
            Step::Drain { node }
        };
        plan.push((rng.u64(500..ACTION), step));
    }
    // What matters happens close to each other, and often close to a fault.
    let faults: Vec<u64> = plan
        .iter()
        .filter(|(_, step)| {
            matches!(
                step,
                Step::Fault(_) | Step::Kill { .. } | Step::Drain { .. }
            )
        })
        .map(|(at, _)| *at)
        .collect();
    for _ in 0..rng.usize(3..=8) {
        let mut at = match rng.choice(&faults) {
            Some(fault) if rng.u8(0..4) > 0 => (fault + rng.u64(0..4_000)).saturating_sub(200),
            _ => rng.u64(500..ACTION),
        };
        let user = rng.usize(0..users);
        let pace = *rng.choice(&[3, 30, 400]).unwrap_or(&3);
        for _ in 0..rng.usize(1..=7) {
            at += rng.u64(0..=pace);
            let node = rng.usize(0..NODES);
            let step = match rng.u8(0..10) {
                0..5 => Step::Emit { user, node },
                5 | 6 => {
                    sessions[user] += 1;
                    let session = sessions[user];
                    if rng.bool() {
                        clients += 1;
                        let after = rng.u64(0..=pace * 2);
                        let node = rng.usize(0..NODES);
                        plan.push((
                            at + after,
                            Step::Connect {
                                user,
                                session,
                                node,
                            },
                        ));
                    }
                    Step::LogIn {
                        user,
                        session,
                        node,
                    }
                }
                7 | 8 => {
                    clients += 1;
                    let old = usize::from(rng.u8(0..3) == 0);
                    let session = sessions[user].saturating_sub(old);
                    Step::Connect {
                        user,
                        session,
                        node,
                    }
                }
                _ => Step::HangUp {
                    client: rng.usize(0..clients),
                },
            };
            plan.push((at, step));
        }
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

fn fault(rng: &mut fastrand::Rng) -> Fault {
    let node = rng.usize(0..NODES);
    let which = [Which::Commands, Which::Subscriber, Which::Both][rng.usize(0..3)];
    let direction = [Direction::ToRedis, Direction::FromRedis, Direction::Both][rng.usize(0..3)];
    let mut time = |longest: u64| Duration::from_millis(rng.u64(20..longest));
    match time(150).as_millis() % 13 {
        0 | 1 => Fault::Cut(node, which),
        2 => Fault::Lose(node, which, direction),
        3 | 4 => Fault::Stall(node, which, direction, time(5_000)),
        5 => Fault::Slow(node, which, direction, time(600)),
        6 => Fault::Freeze(time(5_000)),
        7 => Fault::Restart {
            down: time(3_000),
            keeps_data: time(40).as_millis() % 2 == 0,
        },
        8 => Fault::Flush,
        9 => Fault::Full(time(4_000)),
        10 => Fault::ReadOnly(time(4_000)),
        11 => Fault::Mute(time(4_000)),
        _ => Fault::FailOver {
            lag: time(1_000),
            down: time(2_000),
        },
    }
}
