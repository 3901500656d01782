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
        let websocket = Connection::open_websocket(place(&engine), None, stream);
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

#[tokio::test]
async fn a_poll_that_is_given_up_after_the_upgrade_does_not_end_the_websocket() {
    let engine = engine();
    let connection = Connection::open_polling(place(&engine), None);
    let mut poll = Box::pin(connection.begin_poll().expect("no other poll"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(&mut poll).poll(&mut context).is_pending());
    assert!(connection.begin_upgrade());
    connection.probed();
    let (stream, _client) = streams().await;
    assert!(connection.upgrade(stream));
    // The client hangs up before the answer that it was woken for.
    drop(poll);
    assert_eq!(connection.lock().phase, Phase::Open);
}

#[tokio::test]
async fn a_poll_that_is_given_up_before_the_upgrade_ends_the_connection() {
    let engine = engine();
    let connection = Connection::open_polling(place(&engine), None);
    let mut poll = Box::pin(connection.begin_poll().expect("no other poll"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(&mut poll).poll(&mut context).is_pending());
    assert!(connection.begin_upgrade());
    drop(poll);
    assert_eq!(connection.lock().phase, Phase::Ended(LastWord::Noop));
}
