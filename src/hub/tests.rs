use std::{sync::Mutex, time::Duration};

use super::*;
use crate::id::EventName;

const REPLACED: LogoutReason = LogoutReason::SESSION_REPLACED;

/// A client that records what it receives.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn received(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl Outlet for Recorder {
    fn send(&self, event: &Event) -> bool {
        self.note(event.name.to_string());
        true
    }

    fn overrun(&self) {
        self.note("overrun".to_owned());
    }

    fn dismiss(&self, farewell: &Farewell) -> bool {
        self.note(match farewell {
            Farewell::LoggedOut(reason) => reason.to_string(),
            Farewell::TokenExpired => "TOKEN_EXPIRED".to_owned(),
        });
        true
    }

    fn about(&self) -> Option<About> {
        None
    }
}

fn hub() -> Arc<Hub> {
    Hub::new(&Lifecycle::default())
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

fn enter(hub: &Arc<Hub>, session_text: &str) -> (Handshake, Arc<Recorder>) {
    let client = Arc::new(Recorder::default());
    let handshake = hub.register(&user(), &session(session_text), client.clone());
    (handshake, client)
}

fn admit(handshake: Handshake) -> Lease {
    let admitted = handshake.admit(None).ok();
    admitted.expect("its session is not in doubt")
}

fn doubted(handshake: Handshake) -> Handshake {
    match handshake.admit(None) {
        Err(NotAdmitted::Doubted(again)) => again,
        _ => panic!("its session is not in doubt"),
    }
}

fn live(hub: &Arc<Hub>, session_text: &str) -> (Lease, Arc<Recorder>) {
    let (handshake, client) = enter(hub, session_text);
    let lease = admit(handshake);
    lease.activate().unwrap();
    (lease, client)
}

#[test]
fn a_session_has_no_more_sockets_than_are_allowed() {
    let is_full = |handshake: Handshake, limit: usize| {
        matches!(handshake.admit(Some(limit)), Err(NotAdmitted::Full))
    };
    let hub = hub();
    let (first, _) = live(&hub, "a");
    let _second = live(&hub, "a");
    assert!(is_full(enter(&hub, "a").0, 2));
    drop(first);
    let _third = live(&hub, "a");
    // The sockets of the previous session must go, whether they have been told yet or not.
    let _newer = live(&hub, "b");
    let _another = live(&hub, "b");
    assert!(is_full(enter(&hub, "b").0, 2));
    // Handshakes under way do not count as sockets.
    let hub = self::hub();
    let (one, other) = (enter(&hub, "a").0, enter(&hub, "a").0);
    let _lease = admit(other);
    assert!(is_full(one, 1));
}

#[test]
fn events_wait_for_a_client_that_does_not_know_yet_that_it_has_joined() {
    let hub = hub();
    let (handshake, client) = enter(&hub, "a");
    assert_eq!(hub.deliver(&user(), &event("before")), 0);
    let lease = admit(handshake);
    assert_eq!(hub.deliver(&user(), &event("first")), 1);
    assert!(client.received().is_empty());
    lease.activate().unwrap();
    hub.deliver(&user(), &event("second"));
    assert_eq!(client.received(), ["first", "second"]);
}

#[tokio::test]
async fn a_replaced_session_gets_no_event_once_its_judgement_has_begun() {
    let hub = hub();
    let (_old_lease, old) = live(&hub, "old");
    let (_new_lease, new) = live(&hub, "new");
    let judgement = hub.judge(&user(), &session("new")).unwrap();
    hub.deliver(&user(), &event("secret"));
    let revoked = judgement.keep(&session("new"), REPLACED);
    drop(judgement);
    assert_eq!(revoked.sockets.len(), 1);
    assert!(old.received().is_empty());
    revoked.dismiss().await;
    hub.deliver(&user(), &event("later"));
    assert_eq!(old.received(), ["SESSION_REPLACED"]);
    assert_eq!(new.received(), ["secret", "later"]);
    assert_eq!(hub.count(), 1);
}

#[test]
fn two_judgements_at_once_revoke_a_socket_once() {
    let hub = hub();
    let (_lease, _) = live(&hub, "old");
    let first = hub.judge(&user(), &session("b")).unwrap();
    let second = hub.judge(&user(), &session("c")).unwrap();
    let [second, first] = [second, first].map(|one| one.keep(&session("c"), REPLACED));
    assert_eq!(second.sockets.len() + first.sockets.len(), 1);
}

#[test]
fn a_judgement_concerns_only_sockets_admitted_before_it() {
    let hub = hub();
    let (_old_lease, old) = live(&hub, "old");
    let judgement = hub.judge(&user(), &session("new")).unwrap();
    // It has claimed its session after the announcement.
    let (_later_lease, later) = live(&hub, "later");
    hub.deliver(&user(), &event("waits"));
    assert_eq!(judgement.keep(&session("new"), REPLACED).sockets.len(), 1);
    drop(judgement);
    assert_eq!(old.received(), ["SESSION_REPLACED"]);
    assert_eq!(later.received(), ["waits"]);
}

#[test]
fn events_during_a_judgement_go_to_the_sockets_admitted_before_them() {
    let hub = hub();
    let (_kept_lease, kept) = live(&hub, "new");
    let (_old_lease, _) = live(&hub, "old");
    let judgement = hub.judge(&user(), &session("new")).unwrap();
    hub.deliver(&user(), &event("before"));
    let (_joined_lease, joined) = live(&hub, "new");
    hub.deliver(&user(), &event("after"));
    drop(judgement);
    assert_eq!(kept.received(), ["before", "after"]);
    assert_eq!(joined.received(), ["after"]);
}

#[test]
fn a_handshake_in_progress_is_asked_to_check_again() {
    let hub = hub();
    let (handshake, _) = enter(&hub, "old");
    assert!(hub.judge(&user(), &session("new")).is_none());
    let handshake = doubted(handshake);
    hub.doubt_handshakes();
    admit(doubted(handshake));
}

#[test]
fn a_handshake_of_the_announced_session_does_not_check_again() {
    let hub = hub();
    let (handshake, _) = enter(&hub, "new");
    // Any number of times: an adopter's own announcement comes back to it.
    for _ in 0..3 {
        assert!(hub.judge(&user(), &session("new")).is_none());
    }
    admit(handshake);
    // Unless another session was announced too, in any order.
    let (handshake, _) = enter(&hub, "new");
    hub.judge(&user(), &session("other"));
    hub.judge(&user(), &session("new"));
    admit(doubted(handshake));
}

#[test]
fn every_handshake_checks_again_when_all_are_doubted() {
    let hub = hub();
    let (handshake, _) = enter(&hub, "a");
    let (_live, _) = live(&hub, "a");
    hub.doubt_handshakes();
    let _lease = admit(doubted(handshake));
    assert_eq!(hub.count(), 2);
}

#[test]
fn a_client_revoked_before_it_knows_that_it_has_joined_is_told_at_once() {
    for reason in [REPLACED, LogoutReason::KICKED] {
        let hub = hub();
        let (handshake, client) = enter(&hub, "old");
        let lease = admit(handshake);
        hub.deliver(&user(), &event("waiting"));
        let revoked = if reason == REPLACED {
            let judgement = hub.judge(&user(), &session("new")).unwrap();
            judgement.keep(&session("new"), reason.clone())
        } else {
            hub.revoke_all(&user(), reason.clone()).unwrap()
        };
        assert_eq!(revoked.sockets.len(), 1);
        drop(revoked);
        assert_eq!(lease.activate(), Err(Farewell::LoggedOut(reason)));
        assert!(client.received().is_empty());
        drop(lease);
        assert!(hub.users.is_empty());
    }
}

#[tokio::test]
async fn a_kick_revokes_all_admitted_sockets_and_counts_each_once() {
    let hub = hub();
    assert!(hub.revoke_all(&user(), LogoutReason::KICKED).is_none());
    let (_live, live) = live(&hub, "a");
    let (waiting, told_late) = enter(&hub, "a");
    let waiting = admit(waiting);
    let (handshake, later) = enter(&hub, "a");
    // A force-logout at the same time.
    let judgement = hub.judge(&user(), &session("b")).unwrap();
    hub.deliver(&user(), &event("secret"));
    let kicked = hub.revoke_all(&user(), LogoutReason::KICKED).unwrap();
    let replaced = judgement.keep(&session("b"), REPLACED);
    drop(judgement);
    assert_eq!((replaced.sockets.len(), hub.count()), (0, 0));
    let again = hub.revoke_all(&user(), LogoutReason::KICKED).unwrap();
    assert_eq!(again.dismiss().await, 0);
    assert_eq!(kicked.dismiss().await, 2);
    let farewell = waiting.activate().unwrap_err();
    assert_eq!(farewell, Farewell::LoggedOut(LogoutReason::KICKED));
    assert!(told_late.received().is_empty());
    assert_eq!(live.received(), ["KICKED"]);
    // The handshake may have begun after the kick, but the force-logout concerns it.
    let lease = admit(doubted(handshake));
    lease.activate().unwrap();
    hub.deliver(&user(), &event("more"));
    assert_eq!(later.received(), ["more"]);
}

#[test]
fn nothing_is_left_when_the_last_lease_is_gone() {
    let hub = hub();
    let (first, _) = live(&hub, "a");
    let (second, _) = enter(&hub, "b");
    let judgement = hub.judge(&user(), &session("b")).unwrap();
    assert_eq!(hub.presences().count(), 1);
    drop((first, second));
    assert!(!hub.has(&user()));
    assert_eq!((hub.presences().count(), hub.count()), (0, 0));
    drop(judgement);
    assert!(hub.users.is_empty());
}

#[test]
fn all_sockets_of_a_user_share_one_text_for_each_id() {
    let hub = hub();
    let (first, _) = enter(&hub, "a");
    let (second, _) = enter(&hub, "a");
    assert_eq!(
        first.user().as_str().as_ptr(),
        second.user().as_str().as_ptr()
    );
    let _leases = (admit(first), admit(second));
    let sessions = hub.find(&user()).unwrap().sessions();
    assert_eq!(sessions[0].as_str().as_ptr(), sessions[1].as_str().as_ptr());
}

#[test]
fn a_client_whose_waiting_events_were_dropped_is_disconnected() {
    let hub = hub();
    let large = {
        let payload = format!("\"{}\"", "x".repeat(3 * 1024 * 1024));
        Event::new(EventName::try_from("large").unwrap(), &payload)
    };
    // While the client does not know yet that it has joined.
    let (handshake, client) = enter(&hub, "a");
    let lease = admit(handshake);
    hub.deliver(&user(), &large);
    hub.deliver(&user(), &large);
    assert!(client.received().is_empty());
    lease.activate().unwrap();
    assert_eq!(client.received(), ["large", "overrun"]);

    // Only while its session is judged; a client that joins after the loss has missed nothing.
    let (_old, _) = live(&hub, "old");
    let judgement = hub.judge(&user(), &session("a")).unwrap();
    hub.deliver(&user(), &large);
    hub.deliver(&user(), &large);
    let (_later, later) = live(&hub, "a");
    assert_eq!(judgement.keep(&session("a"), REPLACED).sockets.len(), 1);
    drop(judgement);
    assert_eq!(client.received(), ["large", "overrun", "large", "overrun"]);
    assert!(later.received().is_empty());
    hub.deliver(&user(), &event("small"));
    assert_eq!(later.received(), ["small"]);
}

mod many;

#[tokio::test(start_paused = true)]
async fn the_holding_of_a_user_is_the_session_admitted_last() {
    let hub = hub();
    assert_eq!(hub.holding(&user()), None);
    let began = Instant::now();
    let (handshake, _) = enter(&hub, "a");
    assert_eq!(hub.holding(&user()), None, "it is not admitted yet");
    tokio::time::advance(Duration::from_millis(5)).await;
    let _older = admit(handshake);
    let older = hub.holding(&user()).unwrap();
    assert_eq!(older.session, session("a"));
    assert_eq!(
        (older.found_after, older.found_before),
        (began, Instant::now())
    );
    hub.told(&older);
    assert!(hub.holding(&user()).unwrap().is_told);
    tokio::time::advance(Duration::from_millis(1)).await;
    let _newer = admit(enter(&hub, "b").0);
    hub.told(&older);
    let newer = hub.holding(&user()).unwrap();
    assert_eq!((newer.session, newer.is_told), (session("b"), false));
}
