//! Events that only a master may pass on.

use super::{super::super::proof::LIFE, *};

const FROM_MASTER: Published = Published::Received {
    nodes: 1,
    from_master: true,
};

impl Scene {
    /// A node that is ready, whose Redis has the script.
    fn prepared() -> Self {
        let mut scene = Self::ready();
        assert_eq!(scene.state.begin_loading(), Some(1));
        scene.state.script_loaded(1);
        scene
    }

    /// Begins an event for another node's user; returns its number, and whether it is sent so that a replica
    /// refuses it.
    fn sends(&mut self) -> (Sequence, bool) {
        match self.begins("v") {
            Begun::Publish { seq, to_master } => (seq, to_master),
            begun => panic!("{begun:?}"),
        }
    }
}

#[test]
fn a_master_proves_itself_again_and_again() {
    let mut scene = Scene::prepared();
    let (first, to_master) = scene.sends();
    assert!(to_master, "nothing is known yet");
    let (second, to_master) = scene.sends();
    assert!(to_master, "the first is not answered yet");
    // A proof counts from when its event began.
    scene.now += LIFE / 2;
    scene.published(first, FROM_MASTER);
    let (plain, to_master) = scene.sends();
    assert!(!to_master);
    scene.published(plain, received(1));
    scene.published(second, FROM_MASTER);
    scene.now += LIFE / 2;
    let (last, to_master) = scene.sends();
    assert!(to_master, "a plain event proves nothing");
    scene.published(last, FROM_MASTER);
    for seq in [first, second, plain, last] {
        assert_eq!(scene.outcome(seq), Some(reached(1)));
    }
    assert!(scene.is_done());
}

#[test]
fn the_master_of_an_earlier_connection_proves_nothing() {
    let mut scene = Scene::prepared();
    let (seq, _) = scene.sends();
    scene.does();
    scene.state.sees(CommandLink { number: 2, ..LINK });
    assert_eq!(scene.does(), ["CheckRole"]);
    assert_eq!(scene.state.begin_loading(), Some(2));
    scene.state.script_loaded(1);
    assert!(!scene.sends().1, "the new server does not have it yet");
    scene.state.script_loaded(2);
    scene.published(seq, FROM_MASTER);
    assert!(scene.sends().1);
    let (new, _) = scene.sends();
    scene.published(new, FROM_MASTER);
    assert!(!scene.sends().1);
}

#[test]
fn an_event_that_a_replica_refuses_is_delivered_only_here() {
    let mut scene = Scene::ready();
    for to in ["u", "v"] {
        let seq = scene.publishes(to);
        scene.does();
        scene.published(seq, Published::Misplaced);
        assert!(scene.does().contains(&"FindMaster".to_owned()));
        let delivered = scene.passes(Duration::ZERO);
        assert_eq!(delivered.contains(&seq), to == "u");
        assert_eq!(
            scene.outcome(seq),
            Some(UNAVAILABLE),
            "a replica has a master"
        );
    }
    assert!(scene.is_done());
}

#[test]
fn an_event_that_nobody_received_from_a_proven_master_is_done() {
    let mut scene = Scene::ready();
    scene.has_peer();
    let seq = scene.publishes("v");
    scene.published(
        seq,
        Published::Received {
            nodes: 0,
            from_master: true,
        },
    );
    assert_eq!(scene.outcome(seq), Some(reached(0)));
    assert_eq!(scene.state.begin_role_check(), None);
}

#[test]
fn a_script_that_is_gone_is_loaded_again_and_one_that_is_refused_is_tried_again() {
    let mut scene = Scene::prepared();
    let (seq, _) = scene.sends();
    scene.published(seq, failed());
    assert!(scene.does().contains(&"CheckRole".to_owned()));
    assert!(!scene.sends().1, "events are sent without it");
    assert_eq!(scene.state.begin_loading(), Some(1));
    assert_eq!(scene.state.begin_loading(), None);
    // It could not be loaded.
    scene.state.begin_hello();
    scene.state.hello_returned(1, scene.now);
    assert!(scene.does().contains(&"CheckRole".to_owned()));
    assert_eq!(scene.state.begin_loading(), Some(1));
    scene.state.script_loaded(1);
    assert!(scene.sends().1);
}
