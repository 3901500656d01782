//! A deterministic simulation: several real nodes over a model of Redis and of the network to it.
//!
//! `node` and all that it stands on is what production runs, down to the bytes of RESP; the clock is tokio's
//! paused one, and every choice comes from one seed. `plan` chooses what happens, `world` lets it
//! happen, `story` writes it down, and `invariants` judges it.
//!
//! `SIM_SEED=7 cargo test --test sim` tells one run; `SIM_SEEDS=0..1000000` tries many.

mod invariants;
mod link;
mod plan;
mod redis;
mod story;
mod world;

use std::ops::Range;

use self::{
    plan::{Plan, Step, plan},
    world::{Outcome, run},
};

#[test]
fn every_story_keeps_the_guarantees() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let seed = seed.parse().expect("SIM_SEED is a number");
        return tell(&play(seed));
    }
    for seed in seeds() {
        let outcome = play(seed);
        if !outcome.wrongs.is_empty() {
            report(seed, outcome);
        }
    }
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    for seed in 0..25 {
        let (once, again) = (play(seed), play(seed));
        let lines = once.lines.iter().zip(&again.lines);
        let parted = lines.take_while(|(one, other)| one == other).count();
        let tail = |outcome: &Outcome| outcome.lines[parted.saturating_sub(8)..].join("\n");
        assert!(
            once.lines == again.lines,
            "seed {seed} tells\n{}\n\nbut then\n{}",
            tail(&once),
            tail(&again)
        );
    }
}

/// They were woken in no order.
#[test]
fn events_that_wait_for_a_node_to_start_go_out_in_their_order() {
    let (user, node) = (0, 0);
    let client = Step::Connect {
        user,
        session: 0,
        node: 1,
    };
    let mut plan = vec![(500, client), (1_500, Step::Kill { node })];
    plan.extend((1_501..1_507).map(|at| (at, Step::Emit { user, node })));
    for seed in 0..5 {
        tell(&run(seed, &plan));
    }
}

#[expect(clippy::print_stdout, reason = "a run that was asked for by name")]
fn tell(outcome: &Outcome) {
    println!("{}", outcome.lines.join("\n"));
    assert!(outcome.wrongs.is_empty(), "{:#?}", outcome.wrongs);
}

fn play(seed: u64) -> Outcome {
    run(seed, &plan(&mut fastrand::Rng::with_seed(seed)))
}

/// Tells the shortest story that still goes wrong.
fn report(seed: u64, outcome: Outcome) -> ! {
    let (plan, outcome) = shrink(seed, outcome);
    panic!(
        "seed {seed}, cut down to {} steps:\n{}\n\n{}\n\nall of it: SIM_SEED={seed} cargo test \
         --test sim -- --nocapture",
        plan.len(),
        outcome.lines.join("\n"),
        outcome.wrongs.join("\n"),
    );
}

/// Leaves out what is not needed for something to go wrong.
fn shrink(seed: u64, mut outcome: Outcome) -> (Plan, Outcome) {
    let mut plan = plan(&mut fastrand::Rng::with_seed(seed));
    let mut index = plan.len();
    while index > 0 {
        index -= 1;
        let mut shorter = plan.clone();
        shorter.remove(index);
        let shorter_outcome = run(seed, &shorter);
        if !shorter_outcome.wrongs.is_empty() {
            (plan, outcome) = (shorter, shorter_outcome);
        }
    }
    (plan, outcome)
}

/// Those to try.
fn seeds() -> Range<u64> {
    let Ok(seeds) = std::env::var("SIM_SEEDS") else {
        return 0..2_000;
    };
    let (from, to) = seeds.split_once("..").expect("SIM_SEEDS is a range");
    let number = |text: &str| text.parse().expect("SIM_SEEDS is a range of numbers");
    number(from)..number(to)
}
