use super::*;
use crate::{
    id::{EventName, NodeId, SessionId},
    wire::Event,
};

const LIMIT: Duration = Duration::from_secs(1);

fn user(text: &str) -> UserId {
    UserId::try_from(text).unwrap()
}

fn emit_of(seq: Sequence, payload: &str) -> UserMessage {
    UserMessage::Emit {
        from: NodeId::try_from("n").unwrap(),
        seq,
        event: Event::new(EventName::try_from("a").unwrap(), payload),
    }
}

fn emit(seq: Sequence) -> UserMessage {
    emit_of(seq, "1")
}

fn changed(seq: Sequence) -> UserMessage {
    UserMessage::SessionChanged {
        from: NodeId::try_from("n").unwrap(),
        seq,
        session: SessionId::try_from("s").unwrap(),
    }
}

/// The lanes, and what has come out of them.
struct Scene {
    lanes: Lanes,
    passed: Vec<Delivery>,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        Self {
            lanes: Lanes::default(),
            passed: Vec::new(),
            now: Instant::now(),
        }
    }

    fn send(&mut self, to: &str, seq: Sequence) {
        self.lanes.send(&user(to), seq, emit(seq));
    }

    fn deliver_late(&mut self, to: &str, seq: Sequence) {
        let (user, now) = (user(to), self.now);
        self.lanes.deliver_late(&user, seq, emit(seq), true, now);
    }

    /// The node receives an event of its own.
    fn returns(&mut self, to: &str, seq: Sequence) {
        let (user, passed) = (user(to), &mut self.passed);
        let pass = |delivery| passed.push(delivery);
        if !self.lanes.echo(Some(&user), seq, pass) {
            self.receives(to, emit(seq));
        }
    }

    fn receives(&mut self, to: &str, message: UserMessage) {
        let passed = &mut self.passed;
        let pass = |delivery| passed.push(delivery);
        self.lanes.received(&user(to), message, pass);
    }

    /// The event is late; returns whether it was still on the bus.
    fn late(&mut self, to: &str, seq: Sequence) -> bool {
        self.lanes.give_up(&user(to), seq, self.now)
    }

    fn release(&mut self) {
        let passed = &mut self.passed;
        self.lanes.release(|delivery| passed.push(delivery));
    }

    fn looked(&mut self, looks: &Looks) {
        let passed = &mut self.passed;
        let pass = |delivery| passed.push(delivery);
        self.lanes.looked(&looks.users, true, pass);
    }

    /// A look at the sessions begins and fails.
    fn look_in_vain(&mut self) {
        let looks = self.lanes.take_looks().expect("a session to look at");
        let passed = &mut self.passed;
        let pass = |delivery| passed.push(delivery);
        self.lanes.looked(&looks.users, false, pass);
    }

    /// A look at the sessions begins and ends.
    fn look(&mut self) {
        let looks = self.lanes.take_looks().expect("a session to look at");
        self.looked(&looks);
    }

    /// The numbers of the messages that were passed on for the user.
    fn of(&self, to: &str) -> Vec<Sequence> {
        let passed = self.passed.iter();
        let passed = passed.filter(|delivery| delivery.user.as_str() == to);
        let seqs = passed.map(|delivery| match delivery.message {
            UserMessage::Emit { seq, .. }
            | UserMessage::SessionChanged { seq, .. }
            | UserMessage::Kicked { seq, .. } => seq,
            UserMessage::SessionHeld { .. } => unreachable!("nobody sends one here"),
        });
        seqs.collect()
    }

    /// Whether an event of this node came over the bus, if it was delivered.
    fn own(&self, seq: Sequence) -> Option<bool> {
        let mut passed = self.passed.iter();
        let own = passed.find(|delivery| delivery.own == Some(seq));
        own.map(|delivery| delivery.over_bus)
    }

    fn is_empty(&self) -> bool {
        self.lanes.users.is_empty()
            && self.lanes.unseen.is_empty()
            && (self.lanes.kept.events, self.lanes.kept.bytes) == (0, 0)
    }
}

#[test]
fn an_event_that_comes_back_passes_at_once() {
    let mut scene = Scene::new();
    scene.send("u", 1);
    assert_eq!(scene.own(1), None);
    scene.receives("u", emit(70));
    scene.returns("u", 1);
    assert_eq!(scene.own(1), Some(true));
    assert_eq!(scene.of("u"), [70, 1]);
    assert!(!scene.late("u", 1), "it has come back");
    assert!(scene.lanes.take_looks().is_none());
    assert!(scene.is_empty());
}

#[test]
fn a_late_event_is_delivered_once_after_a_look() {
    let mut scene = Scene::new();
    scene.send("u", 1);
    assert!(scene.late("u", 1));
    assert!(scene.of("u").is_empty());
    let looks = scene.lanes.take_looks().unwrap();
    let until = scene.now + LOOK_LIMIT;
    let users = vec![user("u")];
    assert_eq!(looks, Looks { users, until });
    assert!(scene.lanes.take_looks().is_none(), "it is under way");
    scene.looked(&looks);
    assert_eq!(scene.own(1), Some(false));
    scene.returns("u", 1);
    assert_eq!(scene.of("u"), [1]);
    assert!(scene.is_empty());
}

#[test]
fn nothing_passes_a_late_event() {
    let mut scene = Scene::new();
    for seq in [1, 2, 3] {
        scene.send("u", seq);
    }
    assert!(scene.late("u", 1));
    let looks = scene.lanes.take_looks().unwrap();
    scene.returns("u", 1);
    scene.returns("u", 2);
    scene.receives("u", emit(70));
    scene.receives("u", changed(71));
    // Other users do not wait.
    scene.receives("v", emit(80));
    assert_eq!(scene.of("v"), [80]);
    assert!(scene.of("u").is_empty());
    scene.looked(&looks);
    assert_eq!(scene.of("u"), [1, 2, 70, 71]);
    assert_eq!((scene.own(2), scene.own(3)), (Some(true), None));
    scene.returns("u", 3);
    assert_eq!(scene.of("u"), [1, 2, 70, 71, 3]);
    assert_eq!(scene.own(3), Some(true));
    assert!(scene.is_empty());
}

#[test]
fn an_event_that_is_not_sent_does_not_pass_those_before_it() {
    let mut scene = Scene::new();
    scene.send("u", 1);
    scene.deliver_late("u", 2);
    scene.look();
    assert_eq!(scene.of("u"), [1, 2]);
    assert_eq!((scene.own(1), scene.own(2)), (Some(false), Some(false)));
    for seq in [1, 2] {
        scene.returns("u", seq);
        assert!(!scene.late("u", seq), "neither is late any more");
    }
    assert_eq!(scene.of("u"), [1, 2]);
    assert!(scene.is_empty());
}

#[test]
fn a_look_does_not_cover_an_event_that_came_after_it_began() {
    let mut scene = Scene::new();
    scene.deliver_late("u", 1);
    let looks = scene.lanes.take_looks().unwrap();
    scene.now += LOOK_LIMIT / 2;
    scene.deliver_late("u", 2);
    let since = scene.now;
    scene.receives("u", emit(70));
    scene.now += LOOK_LIMIT / 4;
    scene.looked(&looks);
    assert_eq!(scene.of("u"), [1]);
    let looks = scene.lanes.take_looks().unwrap();
    assert_eq!(looks.until, since + LOOK_LIMIT, "it has waited for a while");
    scene.looked(&looks);
    assert_eq!(scene.of("u"), [1, 2, 70]);
    assert!(scene.is_empty());
}

#[test]
fn many_late_events_share_a_look() {
    let mut scene = Scene::new();
    let users = ["u", "v"];
    let to = |seq| users[seq as usize % 2];
    (0..100).for_each(|seq| scene.send(to(seq), seq));
    for seq in 0..100 {
        scene.late(to(seq), seq);
    }
    let looks = scene.lanes.take_looks().unwrap();
    assert_eq!(looks.users.len(), 2);
    scene.looked(&looks);
    assert!(scene.lanes.take_looks().is_none());
    assert!((0..100).all(|seq| scene.own(seq) == Some(false)));
    for (index, to) in users.iter().enumerate() {
        let sent: Vec<_> = (0..50).map(|turn| turn * 2 + index as u64).collect();
        assert_eq!(scene.of(to), sent);
    }
    assert!(scene.is_empty());
}

#[test]
fn a_late_event_waits_no_longer_than_its_limit_whatever_others_do() {
    let mut scene = Scene::new();
    scene.deliver_late("u", 1);
    let looks = scene.lanes.take_looks().unwrap();
    // Its deadline passes while that look is under way, which is not noticed until the look ends.
    scene.send("v", 2);
    let due = scene.now + LIMIT;
    scene.lanes.give_up(&user("v"), 2, due);
    scene.looked(&looks);
    let looks = scene.lanes.take_looks().unwrap();
    assert_eq!(looks.until, due + LOOK_LIMIT);
    scene.looked(&looks);
    assert!(scene.is_empty());
}

#[test]
fn a_look_lasts_no_longer_than_the_first_late_event_may_wait() {
    let mut scene = Scene::new();
    scene.deliver_late("u", 1);
    let looks = scene.lanes.take_looks().unwrap();
    scene.send("u", 2);
    let due = scene.now + LIMIT;
    // It is not noticed that its deadline has passed until another event is late.
    scene.lanes.want_look(&user("u"), due + LOOK_LIMIT / 2);
    scene.lanes.give_up(&user("u"), 2, due);
    scene.looked(&looks);
    assert_eq!(scene.lanes.take_looks().unwrap().until, due + LOOK_LIMIT);
}

#[test]
fn events_on_a_lost_channel_are_late_at_once() {
    let mut scene = Scene::new();
    for (to, seq) in [("u", 1), ("v", 2), ("w", 3)] {
        scene.send(to, seq);
    }
    scene.lanes.give_up_of(&[user("u")], scene.now);
    scene.look();
    assert_eq!((scene.own(1), scene.own(2)), (Some(false), None));
    scene.lanes.give_up_all(scene.now);
    scene.look();
    assert_eq!((scene.own(2), scene.own(3)), (Some(false), Some(false)));
    assert!(scene.is_empty());
}

#[test]
fn everything_waits_in_order_while_the_node_catches_up() {
    let mut scene = Scene::new();
    scene.send("u", 1);
    scene.lanes.hold();
    scene.receives("u", emit(70));
    scene.returns("u", 1);
    scene.receives("v", changed(80));
    assert!(scene.passed.is_empty());
    scene.release();
    assert_eq!((scene.of("u"), scene.of("v")), (vec![70, 1], vec![80]));
    assert_eq!(scene.own(1), Some(true));
    scene.receives("u", emit(71));
    assert_eq!(scene.of("u"), [70, 1, 71]);
    assert!(scene.is_empty());
}

#[test]
fn an_event_waits_no_longer_than_its_limit_while_the_node_catches_up() {
    let mut scene = Scene::new();
    scene.lanes.hold();
    scene.send("u", 1);
    scene.receives("u", emit(70));
    scene.returns("u", 1);
    assert!(!scene.late("u", 1), "it has come back");
    let looks = scene.lanes.take_looks().unwrap();
    scene.receives("u", emit(71));
    scene.looked(&looks);
    assert_eq!(scene.own(1), Some(true));
    assert_eq!(
        scene.of("u"),
        [70, 1],
        "the look does not cover what came later"
    );
    scene.release();
    assert_eq!(scene.of("u"), [70, 1, 71]);
    assert!(scene.is_empty());
}

#[test]
fn an_event_of_this_node_that_nobody_awaits_is_delivered() {
    let mut scene = Scene::new();
    assert!(!scene.lanes.echo(None, 1, |_| panic!("nobody sent it")));
    scene.returns("u", 1);
    assert_eq!(scene.of("u"), [1]);
    assert!(scene.is_empty());
}

#[test]
fn what_waits_is_bounded_and_a_change_of_session_always_fits() {
    let mut many = Scene::new();
    many.lanes.hold();
    many.send("u", 1);
    for seq in 0..EVENTS as u64 + 10 {
        many.receives("u", emit(100 + seq));
    }
    many.returns("u", 1);
    many.receives("u", changed(2));
    assert_eq!(many.lanes.take_dropped(), 11);
    // An event of this node that did not fit is not lost.
    assert!(many.late("u", 1));
    many.look();
    many.release();
    assert_eq!(many.own(1), Some(false));
    let came = many.of("u");
    assert_eq!(came.len(), EVENTS + 2);
    assert_eq!(came[EVENTS..], [2, 1]);
    assert!(many.is_empty());

    let mut large = Scene::new();
    large.lanes.hold();
    let payload = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    for seq in 0..(BYTES >> 20) as u64 + 10 {
        large.receives("u", emit_of(seq, &payload));
    }
    large.release();
    assert_eq!(large.passed.len(), BYTES >> 20);
    assert_eq!(large.lanes.take_dropped(), 10);
    assert!(large.is_empty());
}

#[test]
fn a_bounded_number_of_late_events_is_remembered() {
    let mut scene = Scene::new();
    for seq in 0..REMEMBERED as u64 + 10 {
        scene.deliver_late("u", seq);
    }
    scene.look();
    assert_eq!(scene.lanes.late.events.len(), REMEMBERED);
}

#[test]
fn a_failed_look_while_catching_up_passes_no_events_of_other_nodes() {
    let mut scene = Scene::new();
    scene.lanes.hold();
    scene.receives("a", emit(1));
    scene.receives("a", changed(2));
    scene.send("a", 3);
    scene.returns("a", 3);
    scene.receives("a", emit(4));
    scene.deliver_late("a", 5);
    scene.receives("a", emit(6));
    scene.look_in_vain();
    assert_eq!(scene.of("a"), [2, 3, 5]);
    // Nothing overtakes what stays, and a later own event still passes it.
    scene.deliver_late("a", 7);
    scene.look_in_vain();
    assert_eq!(scene.of("a"), [2, 3, 5, 7]);
    scene.release();
    assert_eq!(scene.of("a"), [2, 3, 5, 7, 1, 4, 6]);
    assert!(scene.is_empty());
}

#[test]
fn a_failed_look_does_not_hold_up_a_node_that_has_missed_nothing() {
    let mut scene = Scene::new();
    scene.deliver_late("a", 1);
    scene.receives("a", emit(2));
    scene.look_in_vain();
    assert_eq!(scene.of("a"), [1, 2]);
    assert!(scene.is_empty());
}
