//! Stories that are always tried: faults that seeds have found, and cases that seeds seldom choose.

use std::time::Duration;

use super::{
    network::{Direction, Which},
    plan::{Fault, LONG_TTL, Plan, Step},
    tell,
    world::run,
};

/// A client that does not come back.
fn client(user: usize, session: usize, node: usize) -> Step {
    Step::Connect {
        user,
        session,
        node,
        faithful: false,
    }
}

fn event(user: usize, node: usize) -> Step {
    Step::Emit {
        user,
        node,
        patience: None,
    }
}

/// A regression: waiting events were woken in arbitrary order.
#[test]
fn events_that_wait_for_a_node_to_start_go_out_in_their_order() {
    let (user, node) = (0, 0);
    let client = client(user, 0, 1);
    let event = event(user, node);
    let mut steps = vec![(500, client), (1_500, Step::Kill { node })];
    steps.extend((1_501..1_507).map(|at| (at, event.clone())));
    let plan = Plan {
        nodes: 2,
        ttl: LONG_TTL,
        steps,
    };
    for seed in 0..5 {
        tell(&run(seed, &plan));
    }
}

/// Redis forgets a login that one of the two nodes has missed.
#[test]
fn a_session_that_was_replaced_goes_although_its_successor_was_lost() {
    let client = |session, node| client(0, session, node);
    let login = Step::LogIn {
        user: 0,
        session: 1,
        node: 0,
        patience: None,
    };
    let deaf = Step::Fault(Fault::Lose(1, Which::Both, Direction::Both));
    let plan = Plan {
        nodes: 2,
        ttl: LONG_TTL,
        steps: vec![
            (500, client(0, 1)),
            (1_000, deaf),
            (1_500, login),
            (2_000, client(1, 0)),
            (2_500, Step::Fault(Fault::Flush)),
        ],
    };
    for seed in 0..5 {
        let outcome = run(seed, &plan);
        tell(&outcome);
        let mut parts = outcome
            .lines
            .split(|line| line.contains("does it still work?"));
        let before = parts.next().expect("the run itself");
        let is_dismissed = |client: &str| {
            let mut lines = before.iter();
            lines.any(|line| line.contains(client) && line.contains("is dismissed"))
        };
        assert!(is_dismissed("client 0") && !is_dismissed("client 1"));
    }
}

/// A kick is stored nowhere, so nobody makes up for one that only the nodes at a replica were told.
#[test]
fn a_kick_that_goes_to_a_demoted_master_is_not_answered_200() {
    let client = client(0, 3, 1);
    let kick = Step::Kick {
        user: 0,
        fresh: None,
        node: 2,
    };
    let (lag, unaware) = (Duration::from_millis(477), Duration::from_millis(1_299));
    let plan = Plan {
        nodes: 3,
        ttl: LONG_TTL,
        steps: vec![
            (4_036, Step::Fault(Fault::Cut(1, Which::Subscriber))),
            (4_735, Step::Fault(Fault::Split { lag, unaware })),
            (6_332, client),
            (6_862, kick),
        ],
    };
    let mut is_refused = false;
    for seed in 9_021_973..9_021_983 {
        let outcome = run(seed, &plan);
        tell(&outcome);
        is_refused |= outcome
            .lines
            .iter()
            .any(|line| line.contains("kick of u0: 503"));
    }
    assert!(is_refused, "no kick met the demoted master");
}

/// The old master knows that it is a replica, but passes on messages; two of the nodes have not
/// seen it yet.
#[test]
fn an_event_that_goes_to_a_demoted_master_does_not_reach_a_session_that_was_replaced() {
    let client = client(0, 0, 0);
    let (lag, unaware) = (Duration::ZERO, Duration::from_millis(900));
    let login = Step::LogIn {
        user: 0,
        session: 1,
        node: 2,
        patience: None,
    };
    let event = event(0, 1);
    let mut steps = vec![
        (500, client),
        (2_000, Step::Fault(Fault::Split { lag, unaware })),
        (2_001, Step::Fault(Fault::Cut(2, Which::Both))),
        (2_920, login),
    ];
    steps.extend((2_930..3_200).step_by(9).map(|at| (at, event.clone())));
    let plan = Plan {
        nodes: 3,
        ttl: LONG_TTL,
        steps,
    };
    let mut refused = 0;
    for seed in 0..10 {
        let outcome = run(seed, &plan);
        tell(&outcome);
        let refusals = outcome.lines.iter();
        refused += refusals.filter(|line| line.ends_with(": 503")).count();
    }
    assert!(refused > 0, "no event met the demoted master");
}

/// A node hears that a session was replaced, but cannot read what is stored, and takes a second to
/// trust what it heard.
#[test]
fn nobody_of_a_new_session_is_let_in_before_the_old_one_is_gone() {
    let client = |session, node| client(0, session, node);
    let login = Step::LogIn {
        user: 0,
        session: 1,
        node: 1,
        patience: None,
    };
    let hangs = Duration::from_secs(4);
    let hang = Fault::Stall(0, Which::Commands, Direction::Both, hangs);
    let flush = Step::Fault(Fault::Flush);
    for change in [login, flush] {
        let plan = Plan {
            nodes: 3,
            ttl: LONG_TTL,
            steps: vec![
                (500, client(0, 0)),
                (1_500, Step::Fault(hang.clone())),
                (1_501, change),
                (1_600, client(1, 1)),
                (1_650, client(1, 1)),
                (1_700, client(1, 2)),
            ],
        };
        for seed in 0..5 {
            let outcome = run(seed, &plan);
            tell(&outcome);
            let mut lines = outcome.lines.iter();
            let gone =
                lines.position(|line| line.contains("client 0") && line.contains("dismissed"));
            assert!(gone.is_some());
            let came = lines.filter(|line| line.ends_with("is in") && !line.contains("client 0"));
            assert_eq!(came.count(), 3, "all of them after that");
        }
    }
}

/// A traced user gets what it would get anyway, from all nodes, and nothing of the trace stays.
#[test]
fn a_trace_changes_nothing_for_clients() {
    let client = |session, node| client(0, session, node);
    let event = |node| event(0, node);
    let login = Step::LogIn {
        user: 0,
        session: 1,
        node: 1,
        patience: None,
    };
    let trace = |user| Step::Trace {
        user,
        node: 0,
        time: Duration::from_secs(4),
    };
    let steps = vec![
        (500, client(0, 0)),
        (900, client(0, 1)),
        (1_500, event(0)),
        (2_000, event(1)),
        (2_500, login),
        (3_000, client(1, 1)),
        (3_400, client(0, 0)),
        (4_000, event(0)),
    ];
    let mut traced = steps.clone();
    traced.extend([(1_000, trace(0)), (1_001, trace(0)), (1_002, trace(1))]);
    traced.sort_by_key(|(at, _)| *at);
    let of_clients = |seed, steps| {
        let plan = Plan {
            nodes: 2,
            ttl: LONG_TTL,
            steps,
        };
        let outcome = run(seed, &plan);
        tell(&outcome);
        let lines = outcome.lines.into_iter();
        let lines = lines.take_while(|line| !line.contains("everything is well"));
        let lines = lines.filter(|line| line.contains("client"));
        // Without the time, which the network chooses.
        let mut lines: Vec<String> = lines.map(|line| line[8..].to_owned()).collect();
        // Two clients get an event in any order.
        lines.sort();
        lines
    };
    for seed in 0..5 {
        assert_eq!(
            of_clients(seed, steps.clone()),
            of_clients(seed, traced.clone())
        );
    }
}

/// Hellos return over the link, but nothing that the node asks over it reaches Redis.
#[test]
fn a_client_gets_in_although_the_subscriber_link_takes_no_subscriptions() {
    let deaf = Step::Fault(Fault::Lose(0, Which::Subscriber, Direction::ToRedis));
    let client = client(0, 0, 0);
    let plan = Plan {
        nodes: 2,
        ttl: LONG_TTL,
        steps: vec![(1_000, deaf), (1_500, client)],
    };
    for seed in 0..5 {
        let outcome = run(seed, &plan);
        tell(&outcome);
        let mut lines = outcome.lines.iter();
        assert!(lines.any(|line| line.contains("client 0") && line.ends_with("is in")));
    }
}

/// An event that was sent while the first socket was joining was not awaited, and came behind a later one.
#[test]
fn an_event_to_a_user_who_is_joining_does_not_come_behind_a_later_one() {
    let (user, node) = (0, 0);
    let slow = |which, direction, milliseconds| {
        let time = Duration::from_millis(milliseconds);
        Step::Fault(Fault::Slow(node, which, direction, time))
    };
    let client = client(user, 0, node);
    let event = event(user, node);
    let mut steps = vec![
        (1_500, slow(Which::Subscriber, Direction::FromRedis, 1_100)),
        (1_500, slow(Which::Commands, Direction::ToRedis, 600)),
        (1_700, client),
    ];
    steps.extend((0..6).map(|event_number| (2_000 + 250 * event_number, event.clone())));
    let plan = Plan {
        nodes: 2,
        ttl: LONG_TTL,
        steps,
    };
    for seed in 0..100 {
        tell(&run(seed, &plan));
    }
}
