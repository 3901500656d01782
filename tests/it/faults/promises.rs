//! Checks the ledger against what sockd promises.

use std::{
    collections::{HashMap, HashSet},
    sync::Once,
    time::Duration,
};

use tokio::time::Instant;

use super::ledger::{Book, Event, Hit, Life, Outage};

/// Within this a deaf node says so.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// Within this events arrive again once the cause of a fault is over.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// Within this a socket of a replaced session is gone, once its node can know.
const GONE_WITHIN: Duration = Duration::from_secs(15);
/// What was answered so shortly before a connection ended, or a link was lost, may still have been on
/// its way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// How many problems of a kind are worth reading.
const ENOUGH: usize = 5;

/// A socket that was bound to get an event.
struct Due<'a> {
    number: usize,
    event: &'a Event,
    life: &'a Life,
}

/// What sockd did not keep; empty if all is well.
pub fn problems(book: &Book) -> Vec<String> {
    let checks: [fn(&Book) -> Vec<String>; 8] = [
        events_lost,
        events_twice,
        events_for_others,
        events_out_of_order,
        replaced_sessions_served,
        sockets_that_should_be_closed_or_open,
        readiness_lies,
        recoveries_too_slow,
    ];
    let shorten = |problems: Vec<String>| {
        let more = problems.len().saturating_sub(ENOUGH);
        let rest = (more > 0).then(|| format!("… and {more} more of these"));
        problems.into_iter().take(ENOUGH).chain(rest)
    };
    checks
        .iter()
        .map(|check| check(book))
        .flat_map(shorten)
        .collect()
}

/// How many deliveries are missing.
pub fn lost(book: &Book) -> usize {
    dues(book).filter(|due| !due.came()).count()
}

impl Due<'_> {
    fn came(&self) -> bool {
        self.life.got.contains(&self.number)
    }
}

/// Every delivery that was promised. An emit answered 200 promises it to all sockets that stay
/// connected and whose nodes are linked; even one answered 503 does to those of the node itself.
fn dues(book: &Book) -> impl Iterator<Item = Due<'_>> {
    let events = book.events.iter().enumerate();
    events.flat_map(move |(number, event)| {
        let lives = book.lives.iter().filter(move |life| {
            let Some((answered, status)) = event.answer else {
                return false;
            };
            let is_local = life.node == event.node;
            let promised = is_local && [200, 503].contains(&status)
                || status == 200 && !book.is_excused(life.node, event.sent, answered + ON_ITS_WAY);
            let goes_at = life.ended.map(|ended| ended - ON_ITS_WAY);
            life.user == event.user
                && promised
                && life.joined < event.sent
                && goes_at.is_none_or(|at| answered < at)
                && book.doomed(life).is_none_or(|at| answered < at)
        });
        lives.map(move |life| Due {
            number,
            event,
            life,
        })
    })
}

fn events_lost(book: &Book) -> Vec<String> {
    let lost = dues(book).filter(|due| !due.came());
    lost.map(|Due { number, event, life }| {
        let (_, status) = event.answer.expect("it was answered");
        let at = since(book, event.sent);
        format!(
            "event {number} through node {} at {at} was answered {status} and lost on node {} (joined {})",
            event.node,
            life.node,
            since(book, life.joined),
        )
    })
    .collect()
}

fn duplicates(book: &Book) -> impl Iterator<Item = (usize, &Life)> {
    book.lives.iter().flat_map(|life| {
        let mut seen = HashSet::new();
        let again = life.got.iter().filter(move |number| !seen.insert(**number));
        again.map(move |number| (*number, life))
    })
}

fn events_twice(book: &Book) -> Vec<String> {
    let twice = duplicates(book);
    twice
        .map(|(number, life)| {
            let event = &book.events[number];
            format!(
                "event {number} through node {} at {} ({:?}) came twice on node {}",
                event.node,
                since(book, event.sent),
                event.answer.map(|(_, status)| status),
                life.node
            )
        })
        .collect()
}

fn events_for_others(book: &Book) -> Vec<String> {
    let lives = book.lives.iter();
    let strays = lives.flat_map(|life| {
        let got = life.got.iter();
        got.filter(|number| book.events[**number].user != life.user)
    });
    strays
        .map(|number| format!("event {number} came to another user"))
        .collect()
}

/// Events of one sender, which waits for each response before the next, keep their order.
fn events_out_of_order(book: &Book) -> Vec<String> {
    let mut problems = Vec::new();
    for life in &book.lives {
        let mut last = HashMap::new();
        for &number in &life.got {
            let event = &book.events[number];
            let Some((answered, 200)) = event.answer else {
                continue;
            };
            if book.is_excused(life.node, event.sent, answered) {
                continue;
            }
            if let Some(before) = last.insert(event.sender, number)
                && before > number
            {
                let node = life.node;
                problems.push(format!("event {number} came after {before} on node {node}"));
            }
        }
    }
    problems
}

/// An event that was emitted after a session was replaced does not reach that session.
fn replaced_sessions_served(book: &Book) -> Vec<String> {
    let mut problems = Vec::new();
    for life in &book.lives {
        let replaced = book.logouts.iter().filter_map(|logout| {
            let newer = logout.user == life.user && logout.session > life.session;
            logout
                .done
                .filter(|_| newer)
                .map(|done| (logout.sent, done))
        });
        let Some((sent, done)) = replaced.min_by_key(|(_, done)| *done) else {
            continue;
        };
        for &number in &life.got {
            let event = &book.events[number];
            let answered = event.answer.map_or(event.sent, |(at, _)| at);
            if event.sent > done && !book.is_excused(life.node, sent, answered) {
                let (node, at) = (life.node, since(book, event.sent));
                problems.push(format!(
                    "event {number}, emitted at {at}, reached a session replaced at {} on node {node}",
                    since(book, done)
                ));
            }
        }
    }
    problems
}

fn sockets_that_should_be_closed_or_open(book: &Book) -> Vec<String> {
    let end = latest(book);
    let mut problems = Vec::new();
    for life in &book.lives {
        let mut replaced = book.logouts.iter().filter(|logout| {
            logout.user == life.user && logout.session > life.session && logout.done.is_some()
        });
        if let Some(logout) = replaced.next() {
            let done = logout.done.expect("it is done");
            let can_know = book
                .outages_of(life.node, logout.sent, done + ON_ITS_WAY)
                .filter_map(|outage| outage.until);
            let from = can_know.max().unwrap_or(done).max(done);
            let gone = life.ended.unwrap_or(end);
            if gone > from + GONE_WITHIN && !book.is_strained(from, gone) {
                problems.push(format!(
                    "a session replaced at {} was still there {:?} later on node {}",
                    since(book, done),
                    gone - from,
                    life.node
                ));
            }
        }
        let Some(ended) = life.ended else { continue };
        let node_went = book
            .outages_of(life.node, ended - ON_ITS_WAY, ended)
            .any(|outage| outage.hit == Hit::Gone);
        if !node_went && book.doomed(life).is_none_or(|doomed| doomed > ended) {
            let (node, at) = (life.node, since(book, ended));
            problems.push(format!("a live socket on node {node} was closed at {at}"));
        }
    }
    problems
}

/// A deaf node says so and why; one that says that it is ready takes emits.
fn readiness_lies(book: &Book) -> Vec<String> {
    let mut problems = Vec::new();
    for sample in &book.samples {
        let outage = book
            .outages_of(sample.node, sample.asked, sample.answered)
            .next();
        let what = format!(
            "node {} said {} {:?} at {}",
            sample.node,
            sample.status,
            sample.reason,
            since(book, sample.asked)
        );
        match outage {
            _ if book.is_strained(outage.map_or(sample.asked, |o| o.from), sample.answered) => {}
            None if sample.status != 200 => problems.push(format!("{what}, well as it was")),
            Some(Outage {
                hit: Hit::Deaf,
                from,
                healed,
                ..
            }) => {
                let told_by = *from + TOLD_WITHIN;
                let is_deaf = healed.is_none_or(|healed| sample.answered < healed);
                if is_deaf && sample.asked > told_by && sample.status != 503 {
                    problems.push(format!("{what}, deaf as it was"));
                }
                if sample.status == 503 && sample.reason.is_empty() {
                    problems.push(format!("{what}, without a reason"));
                }
            }
            _ => {}
        }
    }
    for (number, event) in book.events.iter().enumerate() {
        let Some((answered, status)) = event.answer else {
            continue;
        };
        if book.is_strained(event.sent, answered) {
            continue;
        }
        let said_ready = match book.outages_of(event.node, event.sent, answered).next() {
            None => true,
            Some(outage) => {
                outage.hit == Hit::Deaf
                    && ready_again(book, outage).is_some_and(|ready| event.sent > ready)
            }
        };
        if said_ready && status != 200 {
            let (node, at) = (event.node, since(book, event.sent));
            problems.push(format!(
                "event {number} through ready node {node} at {at} was answered {status}"
            ));
        }
    }
    problems
}

fn recoveries_too_slow(book: &Book) -> Vec<String> {
    let took = book.outages.iter().filter_map(|outage| {
        let strained = book.is_strained(outage.healed?, outage.until?);
        recovery(outage).filter(|_| !strained)
    });
    took.filter(|took| *took > BACK_WITHIN)
        .map(|took| format!("events arrived again only {took:?} after the fault was over"))
        .collect()
}

fn recovery(outage: &Outage) -> Option<Duration> {
    Some(outage.until? - outage.healed?)
}

/// When a node that had noticed the fault said first that it was ready again.
fn ready_again(book: &Book, outage: &Outage) -> Option<Instant> {
    let noticed = outage.from + detection(book, outage)?;
    let since = noticed.max(outage.healed?);
    let said = book.samples.iter().filter(|sample| {
        sample.node == outage.node && sample.asked > since && sample.status == 200
    });
    said.map(|sample| sample.answered).min()
}

/// When a node said first that it was not.
fn detection(book: &Book, outage: &Outage) -> Option<Duration> {
    let said = book.samples.iter().filter(|sample| {
        sample.node == outage.node
            && sample.answered >= outage.from
            && outage.until.is_none_or(|until| sample.answered <= until)
            && sample.status != 200
    });
    said.map(|sample| sample.answered - outage.from).min()
}

/// Prints the figures of one fault as a row of a table.
#[expect(clippy::print_stdout, reason = "the figures are for people")]
pub fn print(book: &Book, fault: &str) {
    static HEAD: Once = Once::new();
    HEAD.call_once(|| {
        println!(
            "\n| fault | outage | noticed after | well again after | sent | answered 200 | answered 503 | delivered | lost | duplicates |\n|---|---|---|---|---|---|---|---|---|---|"
        );
    });
    let outage = book
        .outages
        .iter()
        .filter_map(|outage| Some(outage.healed? - outage.from));
    let noticed = book
        .outages
        .iter()
        .filter_map(|outage| detection(book, outage));
    let back = book.outages.iter().filter_map(recovery);
    let answered = |wanted| {
        let answers = book.events.iter().filter_map(|event| event.answer);
        answers.filter(|(_, status)| *status == wanted).count()
    };
    let got: usize = book.lives.iter().map(|life| life.got.len()).sum();
    println!(
        "| {fault} | {} | {} | {} | {} | {} | {} | {got} | {} | {} |",
        seconds(outage.max()),
        seconds(noticed.max()),
        seconds(back.max()),
        book.events.len(),
        answered(200),
        answered(503),
        lost(book),
        duplicates(book).count(),
    );
}

fn seconds(duration: Option<Duration>) -> String {
    duration.map_or("-".to_owned(), |duration| {
        format!("{:.1} s", duration.as_secs_f64())
    })
}

/// A moment, counted from the first socket's.
fn since(book: &Book, at: Instant) -> String {
    let first = book.lives.iter().map(|life| life.joined).min();
    let since = first.map_or(Duration::ZERO, |first| at.saturating_duration_since(first));
    format!("{:.3} s", since.as_secs_f64())
}

fn latest(book: &Book) -> Instant {
    book.samples
        .last()
        .map_or_else(Instant::now, |sample| sample.answered)
}
