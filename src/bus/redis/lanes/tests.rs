use tokio::sync::oneshot::error::TryRecvError;

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

/// The lanes, and what has come out of them: the numbers of the messages, by user.
struct Scene {
    lanes: Lanes,
    passed: Vec<(String, Sequence)>,
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

    fn send(&mut self, to: &str, seq: Sequence) -> oneshot::Receiver<bool> {
        let due = self.now + LIMIT;
        let delivered = self.lanes.send(&user(to), seq, emit(seq), due);
        self.lanes.taken(&user(to), seq);
        delivered
    }

    fn deliver_late(&mut self, to: &str, seq: Sequence) -> oneshot::Receiver<bool> {
        let (user, now) = (user(to), self.now);
        self.lanes.deliver_late(&user, seq, emit(seq), true, now)
    }

    /// The node hears an event of its own.
    fn returns(&mut self, to: &str, seq: Sequence) {
        self.hears(to, emit(seq), Some(seq));
    }

    fn hears(&mut self, to: &str, message: UserMessage, own: Option<Sequence>) {
        let passed = &mut self.passed;
        self.lanes.heard(&user(to), message, own, |user, message| {
            passed.push(came(user, &message));
        });
    }

    fn passes(&mut self, time: Duration) -> Vec<Late> {
        self.now += time;
        self.lanes.give_up_late(self.now)
    }

    fn release(&mut self) {
        let passed = &mut self.passed;
        self.lanes
            .release(|user, message| passed.push(came(user, &message)));
    }

    fn looked(&mut self, looks: &Looks) {
        let passed = &mut self.passed;
        self.lanes.looked(&looks.users, |user, message| {
            passed.push(came(user, &message));
        });
    }

    /// A look at the sessions begins and ends.
    fn look(&mut self) {
        let looks = self.lanes.take_looks().expect("a session to look at");
        self.looked(&looks);
    }

    /// What has come for the user.
    fn of(&self, to: &str) -> Vec<Sequence> {
        let passed = self.passed.iter().filter(|(user, _)| user == to);
        passed.map(|(_, seq)| *seq).collect()
    }

    fn is_empty(&mut self) -> bool {
        self.passes(10 * LIMIT);
        self.lanes.users.is_empty()
            && self.lanes.deadlines.is_empty()
            && self.lanes.unseen.is_empty()
            && (self.lanes.kept.events, self.lanes.kept.bytes) == (0, 0)
    }
}

fn came(user: &UserId, message: &UserMessage) -> (String, Sequence) {
    let (UserMessage::Emit { seq, .. } | UserMessage::SessionChanged { seq, .. }) = message;
    (user.to_string(), *seq)
}

#[test]
fn an_event_that_comes_back_passes_at_once() {
    let mut scene = Scene::new();
    let mut own = scene.send("u", 1);
    assert_eq!(own.try_recv(), Err(TryRecvError::Empty));
    scene.hears("u", emit(70), None);
    scene.returns("u", 1);
    assert_eq!(own.try_recv(), Ok(true));
    assert_eq!(scene.of("u"), [70, 1]);
    assert!(scene.lanes.take_looks().is_none());
    assert!(scene.is_empty());
}

#[test]
fn an_event_that_is_less_late_than_the_limit_is_awaited() {
    let mut scene = Scene::new();
    let mut own = scene.send("u", 1);
    assert_eq!(scene.passes(LIMIT - Duration::from_millis(1)), []);
    assert!(scene.lanes.take_looks().is_none());
    scene.returns("u", 1);
    assert_eq!(own.try_recv(), Ok(true));
    assert_eq!(scene.passes(LIMIT), []);
    assert!(scene.is_empty());
}

#[test]
fn a_late_event_is_delivered_once_after_a_look() {
    let mut scene = Scene::new();
    let mut own = scene.send("u", 1);
    assert_eq!(scene.passes(LIMIT), [Late::Unheard]);
    assert!(scene.of("u").is_empty());
    let looks = scene.lanes.take_looks().unwrap();
    let until = scene.now + LOOK_LIMIT;
    let users = vec![user("u")];
    assert_eq!(looks, Looks { users, until });
    assert!(scene.lanes.take_looks().is_none(), "it is under way");
    scene.looked(&looks);
    assert_eq!(own.try_recv(), Ok(false));
    scene.returns("u", 1);
    assert_eq!(scene.of("u"), [1]);
    assert!(scene.is_empty());
}

#[test]
fn nothing_passes_a_late_event() {
    let mut scene = Scene::new();
    let _late = scene.send("u", 1);
    scene.passes(LIMIT / 2);
    let (mut back, mut behind) = (scene.send("u", 2), scene.send("u", 3));
    assert_eq!(scene.passes(LIMIT / 2), [Late::Unheard]);
    let looks = scene.lanes.take_looks().unwrap();
    scene.returns("u", 1);
    scene.returns("u", 2);
    scene.hears("u", emit(70), None);
    scene.hears("u", changed(71), None);
    // Others are not held up.
    scene.hears("v", emit(80), None);
    assert_eq!(scene.of("v"), [80]);
    assert!(scene.of("u").is_empty());
    assert_eq!(back.try_recv(), Err(TryRecvError::Empty));
    scene.looked(&looks);
    assert_eq!(scene.of("u"), [1, 2, 70, 71]);
    assert_eq!(back.try_recv(), Ok(true));
    assert_eq!(behind.try_recv(), Err(TryRecvError::Empty));
    scene.returns("u", 3);
    assert_eq!(scene.of("u"), [1, 2, 70, 71, 3]);
    assert_eq!(behind.try_recv(), Ok(true));
    assert!(scene.is_empty());
}

#[test]
fn an_event_that_is_not_sent_does_not_pass_those_before_it() {
    let mut scene = Scene::new();
    let mut first = scene.send("u", 1);
    let mut second = scene.deliver_late("u", 2);
    scene.look();
    assert_eq!(scene.of("u"), [1, 2]);
    assert_eq!(first.try_recv(), Ok(false));
    assert_eq!(second.try_recv(), Ok(false));
    for seq in [1, 2] {
        scene.returns("u", seq);
    }
    assert_eq!(scene.of("u"), [1, 2]);
    assert_eq!(scene.passes(LIMIT), [], "neither is late any more");
    assert!(scene.is_empty());
}

#[test]
fn an_event_counts_on_no_look_that_began_before_it() {
    let mut scene = Scene::new();
    let _first = scene.deliver_late("u", 1);
    let looks = scene.lanes.take_looks().unwrap();
    scene.now += LOOK_LIMIT / 2;
    let _second = scene.deliver_late("u", 2);
    let since = scene.now;
    scene.hears("u", emit(70), None);
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
    let late: Vec<_> = (0..100)
        .map(|seq| scene.send(users[seq as usize % 2], seq))
        .collect();
    scene.passes(LIMIT);
    let looks = scene.lanes.take_looks().unwrap();
    assert_eq!(looks.users.len(), 2);
    scene.looked(&looks);
    assert!(scene.lanes.take_looks().is_none());
    assert!(
        late.into_iter()
            .all(|mut late| late.try_recv() == Ok(false))
    );
    for (index, to) in users.iter().enumerate() {
        let sent: Vec<_> = (0..50).map(|turn| turn * 2 + index as u64).collect();
        assert_eq!(scene.of(to), sent);
    }
    assert!(scene.is_empty());
}

#[test]
fn a_late_event_waits_no_longer_than_its_limit_whatever_others_do() {
    let mut scene = Scene::new();
    let _first = scene.deliver_late("u", 1);
    let looks = scene.lanes.take_looks().unwrap();
    // Its time is up while that look is under way, and nobody notices until it ends.
    let _second = scene.send("v", 2);
    let due = scene.now + LIMIT;
    scene.passes(LIMIT + LOOK_LIMIT / 2);
    scene.looked(&looks);
    let looks = scene.lanes.take_looks().unwrap();
    assert_eq!(looks.until, due + LOOK_LIMIT);
    scene.looked(&looks);
    assert!(scene.is_empty());
}

#[test]
fn a_look_lasts_no_longer_than_the_first_late_event_may_wait() {
    let mut scene = Scene::new();
    let _first = scene.deliver_late("u", 1);
    let looks = scene.lanes.take_looks().unwrap();
    let _second = scene.send("u", 2);
    let due = scene.now + LIMIT;
    // Nobody notices that its time is up before yet another is late.
    scene.now = due + LOOK_LIMIT / 2;
    let user = user("u");
    scene.lanes.want_look(&user, scene.now);
    scene.passes(Duration::ZERO);
    scene.looked(&looks);
    assert_eq!(scene.lanes.take_looks().unwrap().until, due + LOOK_LIMIT);
}

#[test]
fn whether_redis_has_taken_a_late_event_is_told() {
    let mut scene = Scene::new();
    let due = scene.now + LIMIT;
    let untaken = scene.lanes.send(&user("u"), 1, emit(1), due);
    assert_eq!(scene.passes(LIMIT), [Late::Untaken { due }]);
    scene.look();
    drop(untaken);
    // Of an event whose caller has left nobody knows.
    let due = scene.now + LIMIT;
    drop(scene.lanes.send(&user("u"), 2, emit(2), due));
    assert_eq!(scene.passes(LIMIT), []);
    scene.look();
    assert_eq!(scene.of("u"), [1, 2]);
    assert!(scene.is_empty());
}

#[test]
fn a_lost_channel_gives_its_events_up_at_once() {
    let mut scene = Scene::new();
    let mut events = [scene.send("u", 1), scene.send("v", 2), scene.send("w", 3)];
    scene.lanes.give_up_of(&[user("u")], scene.now);
    scene.look();
    assert_eq!(events[0].try_recv(), Ok(false));
    assert_eq!(events[1].try_recv(), Err(TryRecvError::Empty));
    scene.lanes.give_up_all(scene.now);
    scene.look();
    assert!(
        events[1..]
            .iter_mut()
            .all(|event| event.try_recv() == Ok(false))
    );
    assert_eq!(scene.passes(LIMIT), [], "none was late");
    assert!(scene.is_empty());
}

#[test]
fn everything_waits_in_order_while_the_node_catches_up() {
    let mut scene = Scene::new();
    let mut before = scene.send("u", 1);
    scene.lanes.hold();
    scene.hears("u", emit(70), None);
    scene.returns("u", 1);
    scene.hears("v", changed(80), None);
    assert_eq!(scene.passed, []);
    assert_eq!(before.try_recv(), Err(TryRecvError::Empty));
    scene.release();
    assert_eq!((scene.of("u"), scene.of("v")), (vec![70, 1], vec![80]));
    assert_eq!(before.try_recv(), Ok(true));
    scene.hears("u", emit(71), None);
    assert_eq!(scene.of("u"), [70, 1, 71]);
    assert!(scene.is_empty());
}

#[test]
fn catching_up_makes_no_event_later_than_its_limit() {
    let mut scene = Scene::new();
    scene.lanes.hold();
    let mut own = scene.send("u", 1);
    scene.hears("u", emit(70), None);
    scene.returns("u", 1);
    assert_eq!(scene.passes(LIMIT), [], "it has come back");
    let looks = scene.lanes.take_looks().unwrap();
    scene.hears("u", emit(71), None);
    scene.looked(&looks);
    assert_eq!(own.try_recv(), Ok(true));
    assert_eq!(
        scene.of("u"),
        [70, 1],
        "the look says nothing of what came later"
    );
    scene.release();
    assert_eq!(scene.of("u"), [70, 1, 71]);
    assert!(scene.is_empty());
}

#[test]
fn an_event_of_this_node_that_nobody_awaits_is_delivered() {
    let mut scene = Scene::new();
    scene.returns("u", 1);
    drop(scene.send("u", 2));
    scene.returns("u", 2);
    assert_eq!(scene.of("u"), [1, 2]);
    assert!(scene.is_empty());
}

#[test]
fn what_waits_is_bounded_and_a_change_of_session_always_fits() {
    let mut many = Scene::new();
    many.lanes.hold();
    let mut own = many.send("u", 1);
    for seq in 0..EVENTS as u64 + 10 {
        many.hears("u", emit(100 + seq), None);
    }
    many.returns("u", 1);
    many.hears("u", changed(2), None);
    // What did not fit is not lost if it is an event of our own.
    assert_eq!(many.passes(LIMIT), [Late::Unheard]);
    many.look();
    many.release();
    assert_eq!(own.try_recv(), Ok(false));
    let came = many.of("u");
    assert_eq!(came.len(), EVENTS + 2);
    assert_eq!(came[EVENTS..], [2, 1]);
    assert!(many.is_empty());

    let mut large = Scene::new();
    large.lanes.hold();
    let payload = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    for seq in 0..(BYTES >> 20) as u64 + 10 {
        large.hears("u", emit_of(seq, &payload), None);
    }
    large.release();
    assert_eq!(large.passed.len(), BYTES >> 20);
    assert!(large.is_empty());
}

#[test]
fn late_events_are_remembered_in_bounds() {
    let mut scene = Scene::new();
    for seq in 0..REMEMBERED as u64 + 10 {
        drop(scene.deliver_late("u", seq));
    }
    scene.look();
    assert_eq!(scene.lanes.late.events.len(), REMEMBERED);
}
