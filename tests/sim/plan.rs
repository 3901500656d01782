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
    for _ in 0..rng.usize(0..=2) {
        let at = rng.u64(500..ACTION - 2_000);
        let node = rng.usize(0..NODES);
        plan.push((at, Step::Fault(fault(node, rng))));
        // Trouble seldom comes alone: what one node misses, another is late to make up for.
        if rng.bool() {
            let fault = link_fault((node + 1) % NODES, rng);
            plan.push((at + rng.u64(0..2_000), Step::Fault(fault)));
        }
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
            if rng.bool() {
                plan.push((at + rng.u64(0..=pace * 2), Step::Emit { user, node }));
            }
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

fn fault(node: usize, rng: &mut fastrand::Rng) -> Fault {
    let down = time(2_000, rng);
    match rng.u8(0..14) {
        0 => Fault::Freeze(time(5_000, rng)),
        1 => Fault::Restart {
            down,
            keeps_data: rng.bool(),
        },
        2 => Fault::Flush,
        3 => Fault::Full(time(4_000, rng)),
        4 => Fault::ReadOnly(time(4_000, rng)),
        5 => Fault::Mute(time(4_000, rng)),
        6 => Fault::FailOver {
            lag: time(1_000, rng),
            down,
        },
        _ => link_fault(node, rng),
    }
}

fn link_fault(node: usize, rng: &mut fastrand::Rng) -> Fault {
    let which = [Which::Commands, Which::Subscriber, Which::Both][rng.usize(0..3)];
    let direction = [Direction::ToRedis, Direction::FromRedis, Direction::Both][rng.usize(0..3)];
    match rng.u8(0..8) {
        0 => Fault::Cut(node, which),
        1 => Fault::Lose(node, which, direction),
        2..5 => Fault::Stall(node, which, direction, time(7_000, rng)),
        _ => Fault::Slow(node, which, direction, time(1_200, rng)),
    }
}

fn time(longest: u64, rng: &mut fastrand::Rng) -> Duration {
    Duration::from_millis(rng.u64(20..longest))
}
