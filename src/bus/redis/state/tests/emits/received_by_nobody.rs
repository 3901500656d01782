//! Events that Redis accepted, and passed on to no node or only to others.

use super::*;

#[test]
fn an_event_that_nobody_received_although_this_node_is_subscribed_may_be_missed_by_others() {
    for (has_peer, outcome) in [(false, reached(1)), (true, UNAVAILABLE)] {
        let mut scene = Scene::ready();
        if has_peer {
            scene.has_peer();
        }
        let seq = scene.publishes("u");
        scene.published(seq, received(0));
        assert_eq!(scene.state.check(), Err(NotReady::SubscriptionLost));
        let why = scene.state.take_condemned();
        assert_eq!(why, Some(NotReady::SubscriptionLost));
        assert_eq!(scene.passes(Duration::ZERO), [seq]);
        assert_eq!(scene.outcome(seq), Some(outcome));
        assert!(scene.is_done());
    }
}

#[test]
fn an_event_that_nobody_received_after_the_subscriber_connection_was_lost_is_not_told_as_done() {
    let mut scene = Scene::ready();
    scene.has_peer();
    let seq = scene.publishes("u");
    scene.state.lost(lost(), scene.now);
    scene.published(seq, received(0));
    assert_eq!(scene.passes(Duration::ZERO), [seq]);
    assert_eq!(scene.outcome(seq), Some(UNAVAILABLE));
    assert_eq!(
        scene.state.take_condemned(),
        None,
        "it is about to be replaced"
    );
}

#[test]
fn an_event_that_nobody_received_as_the_user_has_left_is_done() {
    let mut scene = Scene::ready();
    scene.has_peer();
    let seq = scene.publishes("u");
    scene.state.unsubscribe(&user("u"));
    scene.state.take_changes(10, scene.now);
    scene.published(seq, received(0));
    assert_eq!(scene.passes(Duration::ZERO), [seq]);
    assert_eq!(scene.outcome(seq), Some(reached(0)));
    assert_eq!(scene.state.take_condemned(), None);
}

#[test]
fn an_event_for_users_elsewhere_is_done_once_it_is_received() {
    let mut scene = Scene::ready();
    // The subscription is not confirmed yet.
    scene.subscribes("w");
    for to in ["v", "w"] {
        let seq = scene.publishes(to);
        scene.published(seq, received(2));
        assert_eq!(scene.outcome(seq), Some(reached(2)));
    }
    assert!(scene.is_done());
}

#[test]
fn an_event_that_nobody_received_counts_once_its_server_is_proven_a_master() {
    for (is_replica, outcome) in [
        (Some(false), reached(0)),
        (Some(true), UNAVAILABLE),
        (None, UNAVAILABLE),
    ] {
        let mut scene = Scene::ready();
        scene.has_peer();
        let seqs = [scene.publishes("v"), scene.publishes("v")];
        scene.does();
        for seq in seqs {
            scene.published(seq, received(0));
        }
        assert_eq!(scene.does(), ["CheckRole", "CheckRole"]);
        assert_eq!(scene.state.begin_role_check(), Some(1));
        // Published after the check began, which proves nothing about it.
        let later = scene.publishes("v");
        scene.published(later, received(0));
        scene.does();
        scene.state.role_checked(1, is_replica);
        let wakes_and_more = scene.does();
        for seq in seqs {
            assert_eq!(scene.outcome(seq), Some(outcome));
        }
        assert_eq!(scene.outcome(later), None);
        let is_sought = wakes_and_more.contains(&"FindMaster".to_owned());
        assert_eq!(is_sought, is_replica == Some(true));
        assert_eq!(scene.state.begin_role_check(), Some(1));
        scene.state.role_checked(1, Some(false));
        assert_eq!(scene.outcome(later), Some(reached(0)));
        assert_eq!(scene.state.begin_role_check(), None);
    }
}

#[test]
fn a_master_at_another_connection_proves_nothing() {
    let mut scene = Scene::ready();
    scene.has_peer();
    let seq = scene.publishes("v");
    scene.published(seq, received(0));
    scene.state.sees(CommandLink { number: 2, ..LINK });
    assert_eq!(scene.state.begin_role_check(), Some(2));
    scene.state.role_checked(2, Some(false));
    assert_eq!(scene.outcome(seq), Some(UNAVAILABLE));
    let seq = scene.publishes("v");
    scene.published(seq, received(0));
    scene.state.sees(CommandLink { number: 2, ..AWAY });
    assert_eq!(scene.state.begin_role_check(), None);
    assert_eq!(scene.outcome(seq), Some(UNAVAILABLE));
}

#[test]
fn an_event_whose_role_check_takes_too_long_is_unproven() {
    let mut scene = Scene::ready();
    scene.has_peer();
    let seq = scene.publishes("v");
    scene.published(seq, received(0));
    assert_eq!(scene.state.begin_role_check(), Some(1));
    scene.passes(ECHO_LIMIT);
    assert_eq!(scene.outcome(seq), Some(UNAVAILABLE));
    scene.state.role_checked(1, Some(false));
    assert!(scene.is_done());
}

impl Scene {
    /// A node with a peer that is ready in a Cluster.
    fn in_a_cluster() -> Self {
        let mut scene = Self::ready();
        scene.has_peer();
        scene.state.set_canaries(vec!["canary".to_owned()]);
        scene
    }

    fn hello_returns(&mut self) {
        self.state.begin_hello();
        self.state.hello_returned(2, self.now);
    }

    /// Publishes an event that nobody receives, and whose caller has to be told so.
    fn is_heard_by_nobody(&mut self) {
        let seq = self.publishes("u");
        self.published(seq, received(0));
        assert_eq!(self.outcome(seq), None, "it is not delivered here yet");
        let delivered = self.passes(Duration::ZERO);
        assert!(delivered.is_empty() || delivered == [seq]);
        if delivered.is_empty() {
            // It waits behind what the node catches up with.
            self.state.followed();
            assert_eq!(self.delivers(), [seq]);
        }
        assert_eq!(self.outcome(seq), Some(UNAVAILABLE), "others missed it");
    }
}

#[test]
fn a_channel_that_moves_costs_no_connection() {
    for is_known in [true, false] {
        let mut scene = Scene::in_a_cluster();
        if is_known {
            scene.state.moved();
        }
        scene.is_heard_by_nobody();
        assert_eq!(scene.state.check(), Err(NotReady::SubscriptionLost));
        if !is_known {
            scene.hello_returns();
            assert_eq!(scene.state.check(), Err(NotReady::SubscriptionLost));
            scene.state.moved();
        }
        scene.state.followed();
        scene.hello_returns();
        assert_eq!(scene.state.check(), Ok(()));
        scene.hello_returns();
        assert_eq!(scene.state.take_condemned(), None);
        assert!(scene.is_done());
    }
}

#[test]
fn a_subscription_that_is_lost_in_a_cluster_costs_the_connection() {
    let mut scene = Scene::in_a_cluster();
    scene.is_heard_by_nobody();
    scene.hello_returns();
    assert_eq!(scene.state.take_condemned(), None);
    scene.is_heard_by_nobody();
    scene.hello_returns();
    let why = scene.state.take_condemned();
    assert_eq!(why, Some(NotReady::SubscriptionLost));
}

#[test]
fn an_event_that_began_before_its_channel_was_found_is_no_evidence() {
    let mut scene = Scene::in_a_cluster();
    let seq = scene.publishes("u");
    scene.state.moved();
    scene.state.followed();
    scene.published(seq, received(0));
    assert_eq!(scene.state.check(), Err(NotReady::SubscriptionLost));
    for _ in 0..3 {
        scene.hello_returns();
    }
    assert_eq!(scene.state.check(), Ok(()));
    assert_eq!(scene.state.take_condemned(), None);
}
