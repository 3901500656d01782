use std::{
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use tokio::io::AsyncReadExt;

use super::*;
use crate::{
    gateway::tests::{engine, place, streams},
    id::EventName,
};

#[test]
fn an_idle_client_is_small() {
    let size = size_of::<Connection>();
    assert!(
        size <= 368,
        "with its two counts no longer in 384 bytes: {size}"
    );
}

#[tokio::test]
async fn clients_that_leave_leave_nothing_behind() {
    let engine = engine();
    let mut clients = Vec::new();
    for _ in 0..100 {
        let polling = Connection::open_polling(place(&engine), None);
        let (stream, client) = streams().await;
        let websocket = Connection::open_websocket(place(&engine), None, stream, b"");
        clients.push((Arc::downgrade(&polling), Arc::downgrade(&websocket), client));
        for _ in 0..3 {
            // As each of them may be woken sooner, later, or again.
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
async fn gives_up_its_poll(connection: &Arc<Connection>, upgrades: bool) -> Phase {
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
async fn a_poll_that_is_given_up_ends_a_connection_that_still_needs_it() {
    let engine = engine();
    let connection = Connection::open_polling(place(&engine), None);
    assert_eq!(gives_up_its_poll(&connection, true).await, Phase::Open);
    let connection = Connection::open_polling(place(&engine), None);
    let ended = Phase::Ended(LastWord::Noop);
    assert_eq!(gives_up_its_poll(&connection, false).await, ended);
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
    let connection = Connection::open_polling(place(engine), None);
    connection.lock().membership = Membership::Joining;
    connection
}

/// A client that polls and is about to be in.
pub(in crate::gateway) fn entering(engine: &Arc<Engine>) -> Arc<Connection> {
    let connection = Connection::open_polling(place(engine), None);
    connection.lock().membership = Membership::Entering;
    connection
}

/// The farewell of a client whose token has expired.
const FAREWELL: &str = r#"42["auth:expired",{"reason":"TOKEN_EXPIRED"}]"#;

fn large_event() -> Event {
    let name = EventName::try_from("profile:update").expect("a name");
    Event::new(name, &format!("\"{}\"", "x".repeat(900_000)))
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
async fn a_slow_reader_on_a_websocket_gets_its_farewell_even_if_the_node_drains() {
    let engine = engine();
    let (stream, mut client) = streams().await;
    let connection = Connection::open_websocket(place(&engine), None, stream, b"");
    connection.lock().membership = Membership::Entering;
    // More than the buffers of the system take.
    while connection.lock().outbox.is_empty() {
        assert!(connection.send(&large_event()));
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
    let polling = Connection::open_polling(place(&engine), None);
    let (stream, mut client) = streams().await;
    let websocket = Connection::open_websocket(place(&engine), None, stream, b"101\r\n\r\n");
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
