//! Users with very many sockets, and many threads.

use std::{ops::RangeInclusive, sync::atomic::AtomicBool, thread, time::Duration};

use tokio::task::yield_now;

use super::*;

/// Sockets of one user.
const MANY: usize = 10_000;
/// Events of one round with many threads.
const EVENTS: u64 = 2_000;

fn crowd(hub: &Arc<Hub>, session_text: &str, count: usize) -> (Vec<Lease>, Vec<Arc<Recorder>>) {
    (0..count).map(|_| live(hub, session_text)).unzip()
}

fn received_by(clients: &[Arc<Recorder>]) -> usize {
    clients
        .iter()
        .map(|client| client.0.lock().unwrap().len())
        .sum()
}

/// On the test's single thread, the task runs only while the test waits.
async fn until_all_have_received(clients: &[Arc<Recorder>], events: usize) {
    let all = events * clients.len();
    let mut received = received_by(clients);
    // One socket a turn would be too few.
    for _ in 0..all {
        if received == all {
            return;
        }
        let before = received;
        yield_now().await;
        received = received_by(clients);
        let turn = received - before;
        assert!(turn <= TURN, "{turn} sockets were written to in one turn");
    }
    assert_eq!(received, all, "some sockets have missed events");
}

#[tokio::test]
async fn many_sockets_are_written_to_in_turns_and_each_gets_all_events_in_order() {
    let hub = hub();
    let (_leases, clients) = crowd(&hub, "a", MANY);
    assert_eq!(hub.deliver(&user(), &event("first")), MANY);
    let at_once = received_by(&clients);
    assert!((1..=TURN).contains(&at_once), "{at_once}");
    // New sockets get events from now on, and sockets that leave keep none from the others.
    let (_late_lease, late) = live(&hub, "a");
    assert_eq!(hub.deliver(&user(), &event("second")), MANY + 1);
    assert_eq!(received_by(&clients), at_once);
    until_all_have_received(&clients, 2).await;
    yield_now().await;
    assert!(
        clients
            .iter()
            .all(|client| client.received() == ["first", "second"])
    );
    assert_eq!(late.received(), ["second"]);
}

#[tokio::test]
async fn a_session_replaced_while_an_event_spreads_gets_nothing_more() {
    let hub = hub();
    let (_old_leases, old) = crowd(&hub, "old", MANY / 2);
    let (_new_leases, new) = crowd(&hub, "new", MANY / 2);
    hub.deliver(&user(), &event("first"));
    yield_now().await;
    let judgement = hub.judge(&user(), &session("new")).unwrap();
    hub.deliver(&user(), &event("second"));
    for _ in 0..MANY {
        yield_now().await;
    }
    assert!(received_by(&old) <= 2 * BATCH && received_by(&new) == 0);
    let revoked = judgement.keep(&session("new"), REPLACED);
    drop(judgement);
    assert_eq!(hub.count(), MANY / 2);
    assert_eq!(revoked.dismiss().await, MANY as u64 / 2);
    until_all_have_received(&new, 2).await;
    let had_first = old
        .iter()
        .filter(|client| client.received().len() == 2)
        .count();
    assert!((1..=2 * BATCH).contains(&had_first), "{had_first}");
    for client in old {
        assert_eq!(client.received().last().unwrap(), "SESSION_REPLACED");
        assert!(!client.received().contains(&"second".to_owned()));
    }
    assert!(
        new.iter()
            .all(|client| client.received() == ["first", "second"])
    );
}

#[tokio::test]
async fn revoked_sockets_are_dismissed_in_turns_and_all_of_them_if_nobody_waits() {
    let hub = hub();
    let (_leases, clients) = crowd(&hub, "old", MANY);
    let judgement = hub.judge(&user(), &session("new")).unwrap();
    let revoked = judgement.keep(&session("new"), REPLACED);
    drop(judgement);
    let mut dismissal = Box::pin(revoked.dismiss());
    let first = futures_util::poll!(&mut dismissal);
    assert!(first.is_pending());
    assert_eq!(received_by(&clients), TURN);
    drop(dismissal);
    assert!(
        clients
            .iter()
            .all(|client| client.received() == ["SESSION_REPLACED"])
    );
}

#[tokio::test]
async fn a_user_who_leaves_while_an_event_spreads_leaves_nothing() {
    let hub = hub();
    let (leases, clients) = crowd(&hub, "a", 1_000);
    hub.deliver(&user(), &event("first"));
    drop(leases);
    for _ in 0..1_000 {
        yield_now().await;
    }
    assert!(received_by(&clients) <= BATCH);
    assert!(hub.users.is_empty());
}

/// Numbers from a seed (xorshift64*), so that a failing run can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        range.start() + number % (range.end() - range.start() + 1)
    }
}

/// Sockets come and go on several threads, judgements begin and end, and numbered events follow one
/// another. Whatever the schedule, a socket gets an unbroken run of them, beginning with the first
/// sent after its admission.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_socket_gets_an_unbroken_run_of_events_under_any_schedule() {
    let test = come_and_go_on_many_threads();
    let test = tokio::time::timeout(Duration::from_secs(120), test);
    test.await.expect("all events arrive");
}

async fn come_and_go_on_many_threads() {
    let seed = std::env::var("SOCKD_SEED").ok();
    let seed = seed.map_or(17, |seed| seed.parse().expect("SOCKD_SEED is a number"));
    for (round, sockets) in [(0, 3), (1, 40), (2, 300)] {
        let hub = hub();
        let sent = AtomicU64::new(0);
        let is_over = AtomicBool::new(false);
        let (hub, sent, is_over) = (&hub, &sent, &is_over);
        let runtime = tokio::runtime::Handle::current();
        let present = tokio::task::block_in_place(|| {
            thread::scope(|scope| {
                let threads = (1..=3).map(|thread| {
                    let mut random = Random(seed + round * 10 + thread);
                    let runtime = runtime.clone();
                    scope.spawn(move || {
                        let _context = runtime.enter();
                        come_and_go(hub, sent, is_over, sockets, seed, &mut random)
                    })
                });
                let threads: Vec<_> = threads.collect();
                let mut random = Random(seed + round * 10 + 9);
                for number in 1..=EVENTS {
                    // Of a session that no socket has, so that handshakes are in doubt too.
                    let judgement =
                        (random.next(0..=20) == 0).then(|| hub.judge(&user(), &session("other")));
                    sent.store(number, Ordering::SeqCst);
                    hub.deliver(&user(), &event(&number.to_string()));
                    if random.next(0..=3) == 0 {
                        thread::yield_now();
                    }
                    drop(judgement);
                }
                is_over.store(true, Ordering::SeqCst);
                let present = threads
                    .into_iter()
                    .flat_map(|thread| thread.join().unwrap());
                present.collect::<Vec<_>>()
            })
        });
        assert_eq!(hub.count(), present.len());
        hub.deliver(&user(), &event(&(EVENTS + 1).to_string()));
        for (lease, client, admitted) in present {
            while client.received().last() != Some(&(EVENTS + 1).to_string()) {
                yield_now().await;
            }
            check_run(seed, &client, &admitted);
            drop(lease);
        }
        // The task may still have to find that all sockets have left.
        while !hub.users.is_empty() {
            yield_now().await;
        }
        assert_eq!(hub.count(), 0);
    }
}

/// An admitted socket, its client, and what had been sent before and after its admission.
type Present = (Lease, Arc<Recorder>, RangeInclusive<u64>);

fn come_and_go(
    hub: &Arc<Hub>,
    sent: &AtomicU64,
    is_over: &AtomicBool,
    sockets: usize,
    seed: u64,
    random: &mut Random,
) -> Vec<Present> {
    let mut present = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        if present.len() < sockets && random.next(0..=2) > 0 {
            let (mut handshake, client) = enter(hub, "a");
            let before = sent.load(Ordering::SeqCst);
            let lease = loop {
                match handshake.admit(None) {
                    Ok(lease) => break lease,
                    Err(NotAdmitted::Doubted(again)) => handshake = again,
                    Err(NotAdmitted::Full) => panic!("there is no limit"),
                }
            };
            let after = sent.load(Ordering::SeqCst);
            if random.next(0..=1) == 0 {
                thread::yield_now();
            }
            lease.activate().unwrap();
            present.push((lease, client, before..=after));
        } else if !present.is_empty() {
            let index = random.next(0..=present.len() as u64 - 1) as usize;
            let (lease, client, admitted) = present.swap_remove(index);
            drop(lease);
            check_run(seed, &client, &admitted);
        }
    }
    present
}

fn check_run(seed: u64, client: &Recorder, admitted: &RangeInclusive<u64>) {
    let received: Vec<u64> = client
        .received()
        .iter()
        .map(|name| name.parse().unwrap())
        .collect();
    assert!(
        received.is_sorted_by(|a, b| a + 1 == *b),
        "SOCKD_SEED={seed}: {received:?}"
    );
    if let Some(first) = received.first() {
        // An event that was being sent at either moment may count as sent before or after it.
        let expected = *admitted.start()..=admitted.end() + 1;
        assert!(
            expected.contains(first),
            "SOCKD_SEED={seed}: {first} is not in {expected:?}"
        );
    }
}
