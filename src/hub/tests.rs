use std::sync::Mutex;

use super::*;
use crate::id::EventName;

#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl Ear {
    fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Outlet for Ear {
    fn send(&self, event: &Event) {
        self.0.lock().unwrap().push(event.name.to_string());
    }

    fn dismiss(&self, farewell: Farewell) {
        self.0.lock().unwrap().push(format!("{farewell:?}"));
    }
}

fn user() -> UserId {
    UserId::try_from("u").unwrap()
}

fn session(text: &str) -> SessionId {
    SessionId::try_from(text).unwrap()
}

fn event(name: &str) -> Event {
    Event::new(EventName::try_from(name).unwrap(), "1")
}

fn enter(hub: &Arc<Hub>, session_text: &str) -> (Lease, Arc<Ear>) {
    let ear = Arc::new(Ear::default());
    let lease = hub.register(&user(), &session(session_text), ear.clone());
    (lease, ear)
}

fn live(hub: &Arc<Hub>, session_text: &str) -> (Lease, Arc<Ear>) {
    let (lease, ear) = enter(hub, session_text);
    assert_eq!(lease.admit(), Admission::Admitted);
    lease.activate().unwrap();
    (lease, ear)
}

#[test]
fn events_wait_for_a_client_that_does_not_know_yet_that_it_is_in() {
    let hub = Arc::new(Hub::default());
    let (lease, ear) = enter(&hub, "a");
    assert_eq!(hub.deliver(&user(), &event("before")), 0);
    lease.admit();
    assert_eq!(hub.deliver(&user(), &event("first")), 1);
    assert!(ear.heard().is_empty());
    lease.activate().unwrap();
    hub.deliver(&user(), &event("second"));
    assert_eq!(ear.heard(), ["first", "second"]);
}

#[test]
fn a_replaced_session_hears_nothing_from_the_moment_it_is_in_question() {
    let hub = Arc::new(Hub::default());
    let (_old_lease, old) = live(&hub, "old");
    let (_new_lease, new) = live(&hub, "new");
    let judgement = hub.judge(&user(), &session("new")).unwrap();
    hub.deliver(&user(), &event("secret"));
    let revoked = judgement.keep(&session("new"));
    assert_eq!((revoked.count, revoked.outlets.len()), (1, 1));
    drop(judgement);
    assert!(old.heard().is_empty());
    assert_eq!(new.heard(), ["secret"]);
}

#[test]
fn two_judgements_at_once_revoke_a_socket_once() {
    let hub = Arc::new(Hub::default());
    let (_lease, _) = live(&hub, "old");
    let first = hub.judge(&user(), &session("b")).unwrap();
    let second = hub.judge(&user(), &session("c")).unwrap();
    let count = second.keep(&session("c")).count + first.keep(&session("c")).count;
    assert_eq!(count, 1);
}

#[test]
fn a_handshake_under_way_is_asked_to_check_again() {
    let hub = Arc::new(Hub::default());
    let (lease, _) = enter(&hub, "old");
    assert!(hub.judge(&user(), &session("new")).is_none());
    assert_eq!(lease.admit(), Admission::Doubted);
    hub.doubt_handshakes();
    assert_eq!(lease.admit(), Admission::Doubted);
    assert_eq!(lease.admit(), Admission::Admitted);
}

#[test]
fn every_handshake_checks_again_when_all_are_doubted() {
    let hub = Arc::new(Hub::default());
    let (handshake, _) = enter(&hub, "a");
    let (_live, _) = live(&hub, "a");
    hub.doubt_handshakes();
    assert_eq!(handshake.admit(), Admission::Doubted);
    assert_eq!(handshake.admit(), Admission::Admitted);
    assert_eq!(hub.count(), 2);
}

#[test]
fn a_socket_revoked_before_its_client_knows_is_told_at_once() {
    let hub = Arc::new(Hub::default());
    let (lease, ear) = enter(&hub, "old");
    lease.admit();
    hub.deliver(&user(), &event("waiting"));
    let judgement = hub.judge(&user(), &session("new")).unwrap();
    let revoked = judgement.keep(&session("new"));
    assert_eq!((revoked.count, revoked.outlets.len()), (1, 0));
    assert_eq!(lease.activate(), Err(Farewell::SessionReplaced));
    assert!(ear.heard().is_empty());
}

#[test]
fn nothing_is_left_when_the_last_lease_is_gone() {
    let hub = Arc::new(Hub::default());
    let (first, _) = live(&hub, "a");
    let (second, _) = enter(&hub, "b");
    let judgement = hub.judge(&user(), &session("b")).unwrap();
    drop((first, second));
    drop(judgement);
    assert!(hub.users.is_empty());
    assert!(!hub.has(&user()));
}
