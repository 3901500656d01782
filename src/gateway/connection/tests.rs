use std::{
    pin::pin,
    task::{Context, Waker},
};

use super::*;
use crate::gateway::tests::{engine, place, streams};

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
            locked.cut_at = engine.ticker.after(std::time::Duration::from_secs(1));
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
    let connection = Connection::open_polling(place(&engine), None);
    connection.lock().membership = Membership::Entering;
    connection.end(Ending::Unreadable);
    assert!(!connection.dismiss(&Farewell::TokenExpired));
    let connection = Connection::open_polling(place(&engine), None);
    connection.lock().membership = Membership::Entering;
    assert!(connection.dismiss(&Farewell::TokenExpired));
    assert!(!connection.dismiss(&Farewell::TokenExpired));
}
