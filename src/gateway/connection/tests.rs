use std::{
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use tokio::io::AsyncReadExt;

use super::{state::LastWord, *};
use crate::{
    gateway::tests::{config, engine, permit, streams},
    id::{EventName, SessionId, UserId},
    reload::Reloadable,
};

#[test]
fn an_idle_client_is_small() {
    let size = size_of::<Connection>();
    assert!(
        size <= 368,
        "with the two counts of its Arc it exceeds 384 bytes: {size}"
    );
}

#[tokio::test]
async fn clients_that_leave_leave_nothing_behind() {
    let engine = engine();
    let mut clients = Vec::new();
    for _ in 0..100 {
        let polling = Connection::open_polling(permit(&engine), None);
        let (stream, client) = streams().await;
        let websocket = Connection::open_websocket(permit(&engine), None, stream, b"");
        clients.push((Arc::downgrade(&polling), Arc::downgrade(&websocket), client));
        for _ in 0..3 {
            // The next tick of each comes sooner, later, then sooner again.
            let mut locked = polling.lock();
            locked.cut_at = engine.ticker.after(Duration::from_secs(1));
            drop(locked);
            polling.lock().cut_at = Tick::NEVER;
        }
        polling.receive(packet::read("1"));
        websocket.lock().finish(LastWord::Close);
    }
    assert!(engine.registry.list().is_empty());
    assert_eq!(
        engine.ticker.waiting(),
        0,
        "memory is kept for calls to come"
    );
    for (polling, websocket, _) in clients {
        assert_eq!((polling.strong_count(), websocket.strong_count()), (0, 0));
        // The last reference to their memory.
        assert_eq!((polling.weak_count(), websocket.weak_count()), (0, 0));
    }
}

/// A client that polls, and opens a WebSocket, but hangs up before its poll is answered.
async fn abandon_poll(connection: &Arc<Connection>, upgrades: bool) -> Phase {
    let mut poll = Box::pin(connection.begin_poll().expect("no other poll"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(&mut poll).poll(&mut context).is_pending());
    assert!(connection.begin_upgrade());
    if upgrades {
        connection.probed();
        assert!(connection.upgrade(streams().await.0));
    }
    drop(poll);
    connection.lock().phase
}

#[tokio::test]
async fn an_abandoned_poll_ends_a_connection_that_still_polls() {
    let engine = engine();
    let connection = Connection::open_polling(permit(&engine), None);
    assert_eq!(abandon_poll(&connection, true).await, Phase::Open);
    let connection = Connection::open_polling(permit(&engine), None);
    let ended = Phase::Ended(LastWord::Noop);
    assert_eq!(abandon_poll(&connection, false).await, ended);
}

#[tokio::test]
async fn a_client_that_is_gone_is_not_dismissed() {
    let engine = engine();
    let connection = entering(&engine);
    connection.end(Ending::Unreadable);
    assert!(!connection.dismiss(&Farewell::TokenExpired));
    let connection = entering(&engine);
    assert!(connection.dismiss(&Farewell::TokenExpired));
    assert!(!connection.dismiss(&Farewell::TokenExpired));
}

/// A client that polls and has sent a CONNECT.
pub(in crate::gateway) fn joining(engine: &Arc<Engine>) -> Arc<Connection> {
    let connection = Connection::open_polling(permit(engine), None);
    connection.lock().membership = Membership::Joining;
    connection
}

/// A client that polls and has been told that it has joined.
pub(in crate::gateway) fn entering(engine: &Arc<Engine>) -> Arc<Connection> {
    let connection = Connection::open_polling(permit(engine), None);
    connection.lock().membership = Membership::Entering(UserId::try_from("u").unwrap());
    connection
}

/// The farewell of a client whose token has expired.
const FAREWELL: &str = r#"42["auth:expired",{"reason":"TOKEN_EXPIRED"}]"#;

fn event(payload: &str) -> Event {
    let name = EventName::try_from("profile:update").expect("a name");
    Event::new(name, payload)
}

#[tokio::test]
async fn a_client_that_polls_gets_its_farewell_even_if_the_node_drains() {
    let engine = engine();
    let connection = entering(&engine);
    assert!(connection.dismiss(&Farewell::TokenExpired));
    connection.end(Ending::Draining);
    connection.overrun();
    assert_eq!(connection.lock().phase, Phase::Closing);
    let packets = connection.begin_poll().expect("no other poll").await;
    assert_eq!(packets, format!("{FAREWELL}\u{1e}41"));
}

#[tokio::test]
async fn a_moved_client_gets_what_is_queued_and_no_packet_that_stops_it_from_reconnecting() {
    let engine = engine();
    for ending in [Ending::Draining, Ending::Moved, Ending::TooOld] {
        let polling = entering(&engine);
        assert!(polling.send(&event("1")));
        polling.end(ending);
        let packets = polling.begin_poll().expect("no other poll").await;
        assert_eq!(packets, r#"42["profile:update",1]"#);
        assert!(engine.registry.find(polling.sid().as_str()).is_none());

        let pending = entering(&engine);
        let poll = pending.begin_poll().expect("no other poll");
        pending.end(ending);
        assert_eq!(poll.await, packet::NOOP);

        let (stream, mut client) = streams().await;
        let websocket = Connection::open_websocket(permit(&engine), None, stream, b"");
        websocket.lock().membership = Membership::Entering(UserId::try_from("u").unwrap());
        assert!(websocket.send(&event("1")));
        websocket.end(ending);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.expect("it is whole");
        assert!(bytes.ends_with(b"42[\"profile:update\",1]\x88\x02\x03\xe9"));
    }
}

#[tokio::test]
async fn a_slow_reader_on_a_websocket_gets_its_farewell_even_if_the_node_drains() {
    let engine = engine();
    let (stream, mut client) = streams().await;
    let connection = Connection::open_websocket(permit(&engine), None, stream, b"");
    connection.lock().membership = Membership::Entering(UserId::try_from("u").unwrap());
    // More than the buffers of the system take.
    let large = event(&format!("\"{}\"", "x".repeat(900_000)));
    while connection.lock().outbox.is_empty() {
        assert!(connection.send(&large));
    }
    assert!(connection.dismiss(&Farewell::TokenExpired));
    connection.end(Ending::Draining);
    connection.overrun();
    assert_eq!(connection.lock().phase, Phase::Closing);
    let mut bytes = Vec::new();
    let read = client.read_to_end(&mut bytes);
    let write = std::future::poll_fn(|context| connection.poll_stream(context, &mut [0; 64]));
    tokio::select! {
        read = read => drop(read.expect("the connection is whole")),
        _ = write => panic!("the connection has ended before its farewell was read"),
    }
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(FAREWELL), "the farewell is lost");
    assert!(bytes.ends_with(b"\x81\x0241\x88\x00"));
}

#[tokio::test]
async fn a_flood_cuts_a_connection_that_closes() {
    let engine = engine();
    let connection = entering(&engine);
    assert!(connection.dismiss(&Farewell::TokenExpired));
    connection.charge(usize::MAX);
    assert_eq!(connection.lock().phase, Phase::Ended(LastWord::Close));
}

#[tokio::test]
async fn a_connection_that_opens_while_a_drain_begins_is_drained() {
    let engine = engine();
    engine.lifecycle.drain();
    let polling = Connection::open_polling(permit(&engine), None);
    let (stream, mut client) = streams().await;
    let websocket = Connection::open_websocket(permit(&engine), None, stream, b"101\r\n\r\n");
    assert_eq!(polling.lock().phase, Phase::Ended(LastWord::Noop));
    assert_eq!(websocket.lock().phase, Phase::Closing);
    // The answer to its request comes first, else the client reads garbage.
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.expect("it is whole");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("101\r\n\r\n"), "{text}");
    assert!(text.contains("\"pingInterval\""), "{text}");
    assert!(bytes.ends_with(b"\x88\x02\x03\xe9"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_does_not_put_off_the_end_of_a_closing_connection() {
    let engine = engine();
    let connection = entering(&engine);
    assert!(connection.dismiss(&Farewell::TokenExpired));
    let cut_at = connection.lock().cut_at;
    tokio::time::advance(Duration::from_millis(2_900)).await;
    let (stream, _client) = streams().await;
    assert!(connection.upgrade(stream));
    assert!(connection.lock().cut_at <= cut_at);
}

/// From now on, connections have this longest age.
fn limit_age(engine: &Arc<Engine>, longest: Duration) {
    let mut next = Reloadable::new(&config()).expect("a key");
    next.max_connection_age = Some(longest);
    engine.current.replace(next);
}

#[tokio::test(start_paused = true)]
async fn connections_end_in_the_last_fifth_of_the_longest_age() {
    let engine = engine();
    let unjoined = Connection::open_polling(permit(&engine), None);
    limit_age(&engine, Duration::from_secs(10));
    let polling: Vec<_> = (0..100).map(|_| joined(&engine)).collect();
    let open = || polling.iter().filter(|one| one.is_open()).count();
    tokio::time::sleep(Duration::from_millis(7_990)).await;
    assert_eq!(open(), 100);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!((10..90).contains(&open()), "{}", open());
    tokio::time::sleep(Duration::from_millis(1_020)).await;
    assert_eq!(open(), 0);
    let ended = Phase::Ended(LastWord::Noop);
    assert!(polling.iter().all(|one| one.lock().phase == ended));
    // A client that has not joined has another time limit.
    assert!(unjoined.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_is_moved_in_time_and_one_that_does_not_times_out() {
    let engine = engine();
    limit_age(&engine, Duration::from_secs(60));
    let clients = [joined(&engine), joined(&engine)];
    let [answers, _] = &clients;
    let mut ages = [None, None];
    for tenth in 0..700 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        answers.receive(packet::read("3"));
        for (age, client) in ages.iter_mut().zip(&clients) {
            if age.is_none() && !client.is_open() {
                *age = Some(f64::from(tenth) / 10.0);
            }
        }
    }
    let [moved, timed_out] = ages.map(|age| age.expect("it has ended"));
    assert!((47.8..=60.1).contains(&moved), "{moved}");
    assert!((44.8..=46.0).contains(&timed_out), "{timed_out}");
}

#[tokio::test(start_paused = true)]
async fn a_new_longest_age_holds_for_open_connections_from_their_next_ping_on() {
    let engine = engine();
    let client = joined(&engine);
    tokio::time::sleep(Duration::from_secs(1)).await;
    limit_age(&engine, Duration::from_secs(10));
    tokio::time::sleep(Duration::from_secs(23)).await;
    assert!(client.is_open());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!client.is_open());
}

/// A client that polls and has joined.
pub(in crate::gateway) fn joined(engine: &Arc<Engine>) -> Arc<Connection> {
    let connection = joining(engine);
    let identity = Identity {
        user: UserId::try_from("user").expect("an id"),
        session: SessionId::try_from("session").expect("an id"),
        expires_at: None,
        key: None,
    };
    assert!(connection.welcome(&identity, None));
    // It has read the answer.
    connection.lock().outbox.take_payload(usize::MAX);
    connection
}
