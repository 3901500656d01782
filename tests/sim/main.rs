//! A deterministic simulation: several real nodes over a model of Redis and of the network to it.
//!
//! `node` and all that it stands on is what production runs, down to the bytes of RESP; the clock
//! is tokio's paused one, and every choice comes from one seed, so a seed tells the same story
//! every time.
//!
//! The map, in reading order:
//!
//! - `plan` chooses what is going to happen, and `planned` has the stories that were found or thought of;
//! - `world` lets it happen: `process` is a node; `client`, `backend` and `operator` are those who use
//!   it; `trouble` is what breaks; `watch` and `quiet` check that the nodes do well, meanwhile and in
//!   the end;
//! - `network` carries what nodes and Redis say to each other: late, in pieces or not at all. `redis` is
//!   a model of the server, with `script` for its Lua and `resp` for its replies;
//! - `story` writes down what has happened, and `invariants` judges it; `panics` adds the panics of
//!   tasks.
//!
//! `cargo test --test sim` tries 2,000 seeds, and `SIM_SEEDS=0..1000000 cargo test --test sim` a million.
//! `SIM_SEED=7 cargo test --test sim -- --nocapture` prints the story of one. With `SIM_SURVEY=1` a run
//! goes on after a seed that goes wrong, and lists all such seeds. `mutations/bite` shows that the
//! simulation finds faults: it puts one at a time into a copy of the source, and prints after how many
//! seeds each was found.
//!
//! Not simulated: Sentinel, and a Cluster with its sharded channels. The Redis library opens those
//! connections itself and takes no stream from outside. `tests/it/redis` tests both with real servers.

mod invariants;
mod network;
mod panics;
mod plan;
mod planned;
mod redis;
mod story;
mod world;

use std::{
    ops::Range,
    panic::resume_unwind,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use self::{
    plan::{Plan, plan},
    world::{Outcome, run},
};

#[test]
fn every_story_keeps_the_guarantees() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let seed = seed.parse().expect("SIM_SEED is a number");
        return tell(&play(seed));
    }
    let goes_on = std::env::var_os("SIM_SURVEY").is_some();
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    // Seeds are taken in order, so the first that goes wrong is the same on every machine.
    let search = || {
        let mut wrong = None;
        while !is_over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let outcome = play(seed);
            if outcome.wrongs.is_empty() {
                continue;
            }
            if goes_on {
                note(seed, &outcome);
            } else {
                is_over.store(true, Ordering::Relaxed);
            }
            wrong = wrong.or(Some((seed, outcome)));
        }
        wrong
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let first = thread::scope(|scope| {
        let searches: Vec<_> = (0..threads).map(|_| scope.spawn(search)).collect();
        let found = searches.into_iter().filter_map(|search| {
            let wrong = search.join();
            wrong.unwrap_or_else(|panic| resume_unwind(panic))
        });
        found.min_by_key(|(seed, _)| *seed)
    });
    if let Some((seed, outcome)) = first {
        report(seed, outcome);
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

#[expect(clippy::print_stdout, reason = "a run that was asked for by name")]
fn tell(outcome: &Outcome) {
    println!("{}", outcome.lines.join("\n"));
    assert!(outcome.wrongs.is_empty(), "{:#?}", outcome.wrongs);
}

#[expect(clippy::print_stdout, reason = "a survey that was asked for")]
fn note(seed: u64, outcome: &Outcome) {
    println!("seed {seed}: {}", outcome.wrongs[0]);
}

fn play(seed: u64) -> Outcome {
    run(seed, &plan(&mut fastrand::Rng::with_seed(seed)))
}

/// Reports the shortest run that still fails.
fn report(seed: u64, outcome: Outcome) -> ! {
    let (plan, outcome) = shrink(seed, outcome);
    panic!(
        "seed {seed}, cut down to {} steps:\n{}\n\n{}\n\nall of it: SIM_SEED={seed} cargo test \
         --test sim -- --nocapture",
        plan.steps.len(),
        outcome.lines.join("\n"),
        outcome.wrongs.join("\n"),
    );
}

/// Leaves out what is not needed for something to go wrong.
fn shrink(seed: u64, mut outcome: Outcome) -> (Plan, Outcome) {
    let mut plan = plan(&mut fastrand::Rng::with_seed(seed));
    let mut index = plan.steps.len();
    while index > 0 {
        index -= 1;
        let mut shorter = plan.clone();
        shorter.steps.remove(index);
        let shorter_outcome = run(seed, &shorter);
        if !shorter_outcome.wrongs.is_empty() {
            (plan, outcome) = (shorter, shorter_outcome);
        }
    }
    (plan, outcome)
}

/// The seeds to try.
fn seeds() -> Range<u64> {
    let Ok(seeds) = std::env::var("SIM_SEEDS") else {
        return 0..2_000;
    };
    let (from, to) = seeds.split_once("..").expect("SIM_SEEDS is a range");
    let number = |text: &str| text.parse().expect("SIM_SEEDS is a range of numbers");
    number(from)..number(to)
}
