//! How events of this node end.

mod proof;
mod received_by_nobody;

use std::task::Poll;

use super::*;
use crate::bus::{BusUnavailable, Reach};

/// What the caller is told.
type Outcome = Result<Reach, BusUnavailable>;

fn reached(nodes: impl Into<Option<usize>>) -> Outcome {
    let nodes = nodes.into();
    Ok(Reach { nodes })
}

const UNAVAILABLE: Outcome = Err(BusUnavailable);

const AWAY: CommandLink = CommandLink {
    is_connected: false,
    ..LINK
};

const REPLICA: CommandLink = CommandLink {
    is_demoted: true,
    ..LINK
};

impl Scene {
    fn begins(&mut self, to: &str) -> Begun {
        let due = self.now + ECHO_LIMIT;
        self.state.emit(&user(to), &event(), due, self.now)
    }

    fn publishes(&mut self, to: &str) -> Sequence {
        match self.begins(to) {
            Begun::Publish { seq, .. } => seq,
            begun => panic!("{begun:?}"),
        }
    }

    fn published(&mut self, seq: Sequence, published: Published) {
        self.state.published(seq, published, self.now);
    }

    fn returns(&mut self, seq: Sequence) -> bool {
        let generation = self.state.generation;
        self.state.echo(generation, "u", seq)
    }

    fn outcome(&mut self, seq: Sequence) -> Option<Outcome> {
        match self.state.poll_outcome(seq, Waker::noop()) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    /// Lets time pass, and delivers what is late by then, after a look.
    fn passes(&mut self, time: Duration) -> Vec<Sequence> {
        self.now += time;
        self.state.expire(self.now);
        if let Some(looks) = self.state.take_looks() {
            assert!(self.state.take_deliveries().is_empty(), "before the look");
            self.state.looked(&looks, true);
        }
        self.delivers()
    }

    fn has_peer(&mut self) {
        self.receives_from_node(hello("b", 1));
        self.does();
    }

    /// Whether nothing is kept of any event.
    fn is_done(&mut self) -> bool {
        self.passes(10 * ECHO_LIMIT);
        self.state.next_deadline().is_none()
            && format!("{:?}", self.state.emits).contains("by_seq: {}")
    }
}

fn received(nodes: usize) -> Published {
    Published::Received {
        nodes,
        from_master: false,
    }
}

fn failed() -> Published {
    Published::Failed("full".to_owned())
}

#[test]
fn an_event_is_done_once_it_is_published_and_back_and_delivered() {
    for publishes_first in [true, false] {
        let mut scene = Scene::ready();
        let seq = scene.publishes("u");
        assert_eq!(scene.outcome(seq), None);
        if publishes_first {
            scene.published(seq, received(3));
            assert_eq!(scene.outcome(seq), None);
        }
        assert!(scene.returns(seq));
        assert_eq!(scene.outcome(seq), None, "it is not delivered yet");
        scene.does();
        assert_eq!(scene.delivers(), [seq]);
        if publishes_first {
            assert_eq!(scene.does(), ["Wake"]);
        } else {
            assert_eq!(scene.outcome(seq), None);
            scene.published(seq, received(3));
            assert!(scene.does().is_empty(), "the caller is awake");
        }
        assert_eq!(scene.outcome(seq), Some(reached(3)));
        assert!(scene.is_done());
    }
}

#[test]
fn an_event_that_was_not_awaited_does_not_come_behind_a_late_one() {
    for has_overtaken in [true, false] {
        let mut scene = Scene::ready();
        let generation = scene.state.generation;
        let early = scene.publishes("w");
        scene.published(early, received(1));
        assert_eq!(scene.outcome(early), Some(reached(1)));
        scene.subscribes("w");
        let Changes { subscribe, .. } = scene.state.take_changes(10, scene.now);
        scene.state.subscribed(&subscribe);
        let (later, of_other) = (scene.publishes("w"), scene.publishes("u"));
        scene.does();
        if has_overtaken {
            assert_eq!(scene.passes(ECHO_LIMIT), [later, of_other]);
        }
        let is_ignored = scene.state.echo(generation, "w", early);
        assert_eq!(is_ignored, has_overtaken);
        assert!(scene.delivers().is_empty());
    }
}

#[test]
fn an_event_that_does_not_come_back_is_delivered_late_and_makes_the_node_doubt() {
    let mut scene = Scene::ready();
    let seq = scene.publishes("u");
    scene.does();
    scene.published(seq, received(1));
    assert!(
        scene
            .passes(ECHO_LIMIT - Duration::from_millis(1))
            .is_empty()
    );
    assert_eq!(scene.state.check(), Ok(()));
    assert_eq!(scene.passes(Duration::from_millis(1)), [seq]);
    assert_eq!(scene.state.check(), Err(NotReady::EventLost));
    assert_eq!(scene.outcome(seq), Some(reached(1)));
    // Its echo is ignored.
    assert!(scene.returns(seq));
    assert!(scene.delivers().is_empty());
    assert!(scene.is_done());
}

#[test]
fn the_deadline_is_that_of_the_publish_too() {
    let mut scene = Scene::ready();
    let (here, elsewhere) = (scene.publishes("u"), scene.publishes("v"));
    assert_eq!(scene.passes(ECHO_LIMIT), [here]);
    assert_eq!(scene.state.check(), Err(NotReady::EventUnanswered));
    assert_eq!(scene.outcome(here), Some(reached(1)), "this node is alone");
    assert_eq!(scene.outcome(elsewhere), Some(reached(0)));
    // For a while nothing is sent to a Redis that does not answer.
    assert!(!scene.state.can_look(scene.now));
    assert!(matches!(scene.begins("u"), Begun::Wait(_)));
    assert_eq!(scene.begins("v"), Begun::Done(reached(0)));
    // Until it accepts a hello.
    scene.state.hello_taken();
    assert!(matches!(scene.begins("v"), Begun::Publish { .. }));
}

#[test]
fn an_answer_after_the_deadline_changes_nothing() {
    let mut scene = Scene::ready();
    scene.has_peer();
    let seq = scene.publishes("v");
    scene.passes(ECHO_LIMIT);
    scene.published(seq, received(1));
    assert_eq!(scene.outcome(seq), Some(UNAVAILABLE));
}

#[test]
fn a_refused_event_is_late_at_once() {
    for (has_peer, outcome) in [(false, reached(1)), (true, UNAVAILABLE)] {
        let mut scene = Scene::ready();
        if has_peer {
            scene.has_peer();
        }
        let seq = scene.publishes("u");
        scene.published(seq, failed());
        let why = NotReady::Refused("full".to_owned());
        assert_eq!(scene.state.check(), Err(why));
        assert_eq!(scene.outcome(seq), None);
        assert_eq!(scene.passes(Duration::ZERO), [seq]);
        assert_eq!(scene.outcome(seq), Some(outcome));
    }
}

#[test]
fn a_refused_event_that_came_back_all_the_same_reached_every_node() {
    let mut scene = Scene::ready();
    scene.has_peer();
    let seq = scene.publishes("u");
    assert!(scene.returns(seq));
    scene.delivers();
    scene.published(seq, Published::Unanswered);
    assert_eq!(scene.outcome(seq), Some(reached(None)));
    assert_eq!(scene.state.check(), Err(NotReady::EventUnanswered));
}

#[test]
fn errors_of_an_earlier_command_connection_do_not_count_against_the_present_one() {
    for published in [failed(), Published::Unanswered] {
        let mut scene = Scene::ready();
        let (seq, late) = (scene.publishes("u"), scene.publishes("u"));
        scene.state.sees(CommandLink { number: 2, ..LINK });
        scene.published(seq, published);
        scene.passes(ECHO_LIMIT);
        assert_eq!(scene.state.check(), Ok(()));
        assert!(scene.state.can_look(scene.now));
        assert_eq!(scene.outcome(late), Some(reached(1)));
    }
}

#[test]
fn without_redis_an_event_is_late_from_the_start() {
    for link in [AWAY, REPLICA] {
        let mut scene = Scene::ready();
        scene.state.sees(link);
        let Begun::Wait(seq) = scene.begins("u") else {
            panic!("it must not be published");
        };
        assert!(scene.state.check().is_err());
        assert_eq!(scene.passes(Duration::ZERO), [seq]);
        // A replica has a master, which may have other nodes.
        let (here, nowhere) = match link {
            AWAY => (reached(1), reached(0)),
            _ => (UNAVAILABLE, UNAVAILABLE),
        };
        assert_eq!(scene.outcome(seq), Some(here));
        assert_eq!(scene.begins("v"), Begun::Done(nowhere));
        assert!(scene.is_done());
    }
}

#[test]
fn without_redis_an_event_is_complete_only_for_a_node_that_was_alone() {
    let mut scene = Scene::ready();
    scene.has_peer();
    scene.state.sees(AWAY);
    assert_eq!(scene.begins("v"), Begun::Done(UNAVAILABLE));
    let Begun::Wait(seq) = scene.begins("u") else {
        panic!("it must not be published");
    };
    scene.passes(Duration::ZERO);
    assert_eq!(scene.outcome(seq), Some(UNAVAILABLE));
}

#[test]
fn a_node_that_was_alone_on_a_replica_does_not_know_who_is_at_the_master() {
    let mut scene = Scene::ready();
    scene.state.sees(AWAY);
    assert_eq!(scene.begins("v"), Begun::Done(reached(0)), "it was alone");
    scene.state.sees(REPLICA);
    scene.state.sees(AWAY);
    assert_eq!(scene.begins("v"), Begun::Done(UNAVAILABLE));
    scene.state.sees(LINK);
    scene.becomes_ready();
    scene.state.sees(AWAY);
    assert_eq!(scene.begins("v"), Begun::Done(reached(0)));
}

#[test]
fn a_node_that_is_not_ready_publishes_and_delivers_without_the_bus() {
    for (peer, subscriber_lost, outcome) in [
        (false, true, reached(None)),
        (true, true, UNAVAILABLE),
        (true, false, reached(None)),
    ] {
        let mut scene = Scene::ready();
        if peer {
            scene.has_peer();
        }
        scene.subscribes("w");
        if subscriber_lost {
            scene.state.lost(lost(), scene.now);
        } else {
            scene.state.doubt(NotReady::EventLost);
        }
        let (here, elsewhere) = (scene.publishes("w"), scene.publishes("v"));
        scene.published(here, received(1));
        scene.published(elsewhere, received(1));
        assert_eq!(scene.outcome(here), None);
        assert_eq!(scene.passes(Duration::ZERO), [here]);
        assert_eq!(scene.outcome(here), Some(outcome));
        assert_eq!(scene.outcome(elsewhere), Some(outcome));
    }
}

#[test]
fn a_lost_connection_delivers_the_events_that_were_on_it() {
    let mut scene = Scene::ready();
    let seq = scene.publishes("u");
    scene.published(seq, received(2));
    scene.state.lost(lost(), scene.now);
    assert_eq!(scene.passes(Duration::ZERO), [seq]);
    assert_eq!(scene.outcome(seq), Some(reached(2)));
}

#[test]
fn an_unsubscribed_channel_delivers_the_events_that_were_on_it() {
    let mut scene = Scene::ready();
    let seq = scene.publishes("u");
    scene.published(seq, received(1));
    scene.state.unsubscribe(&user("u"));
    scene.does();
    let changes = scene.state.take_changes(10, scene.now);
    assert_eq!(changes.unsubscribe, [user("u")]);
    assert_eq!(scene.does(), ["TendLate"]);
    assert_eq!(scene.passes(Duration::ZERO), [seq]);
    assert_eq!(scene.outcome(seq), Some(reached(1)));
}

#[test]
fn an_event_whose_caller_has_gone_is_delivered_and_makes_the_node_doubt_nothing() {
    let mut scene = Scene::ready();
    let (here, elsewhere) = (scene.publishes("u"), scene.publishes("v"));
    scene.state.abandon(here);
    scene.state.abandon(elsewhere);
    assert_eq!(scene.passes(ECHO_LIMIT), [here]);
    assert_eq!(scene.state.check(), Ok(()));
    assert!(scene.is_done());
    let back = scene.publishes("u");
    scene.state.abandon(back);
    assert!(scene.returns(back));
    assert_eq!(scene.delivers(), [back]);
    assert!(scene.is_done());
}

#[test]
fn an_echo_counts_only_for_the_user_and_the_event_that_it_names() {
    let mut scene = Scene::ready();
    let seq = scene.publishes("u");
    let generation = scene.state.generation();
    assert!(
        !scene.state.echo(generation, "v", seq),
        "it went to another user"
    );
    assert!(
        !scene.state.echo(generation, "u", seq + 1),
        "nobody sent it"
    );
    assert!(scene.state.echo(generation, "u", seq));
    assert_eq!(scene.delivers(), [seq]);
}

#[test]
fn events_that_are_done_in_time_do_not_wake_the_task_that_waits_for_deadlines() {
    let mut scene = Scene::ready();
    let due = scene.now + ECHO_LIMIT;
    for turn in 0..10 {
        let seq = scene.publishes("u");
        let expected: &[&str] = if turn == 0 { &["TendLate"] } else { &[] };
        assert_eq!(scene.does(), expected);
        scene.published(seq, received(1));
        scene.returns(seq);
        scene.delivers();
        assert_eq!(scene.outcome(seq), Some(reached(1)));
        assert!(scene.passes(ECHO_LIMIT / 20).is_empty());
        assert_eq!(scene.state.next_deadline(), Some(due));
    }
    scene.passes(ECHO_LIMIT / 2);
    assert_eq!(scene.state.next_deadline(), None, "all were done");
}

#[test]
fn late_events_are_tended_when_the_first_is_due() {
    let mut scene = Scene::ready();
    let first = scene.now + ECHO_LIMIT;
    scene.publishes("u");
    assert_eq!(scene.does(), ["TendLate"]);
    scene.now += ECHO_LIMIT / 2;
    scene.publishes("u");
    assert!(scene.does().is_empty());
    assert_eq!(scene.state.next_deadline(), Some(first));
    scene.passes(ECHO_LIMIT / 2);
    let second = first + ECHO_LIMIT / 2;
    assert_eq!(scene.state.next_deadline(), Some(second));
}
