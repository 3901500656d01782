//! A test for every row of the tables in the module's documentation.

mod emits;

use super::*;
use crate::{
    id::{EventName, SessionId, UserId},
    wire::{Build, Event, NodeMessage},
};

const LINK: CommandLink = CommandLink {
    number: 1,
    is_connected: true,
    is_demoted: false,
};

fn node(text: &str) -> NodeId {
    NodeId::try_from(text).unwrap()
}

fn user(text: &str) -> UserId {
    UserId::try_from(text).unwrap()
}

fn event() -> Event {
    Event::new(EventName::try_from("a").unwrap(), "1")
}

fn emit_of(from: &str, seq: Sequence) -> UserMessage {
    UserMessage::Emit {
        from: node(from),
        seq,
        event: event(),
    }
}

fn hello(from: &str, seq: Sequence) -> NodeMessage {
    NodeMessage::Hello {
        node: node(from),
        seq,
        build: Build::own(),
    }
}

fn lost() -> NotReady {
    NotReady::SubscriberLost(crate::redis::Lost::Closed)
}

/// The state of node `n`, and the time.
struct Scene {
    state: State,
    now: Instant,
}

impl Scene {
    /// A node that has just started.
    fn new() -> Self {
        let demoted = crate::redis::Demoted::at("r");
        let mut state = State::new(node("n"), demoted);
        state.sees(LINK);
        Self {
            state,
            now: Instant::now(),
        }
    }

    /// A node that is ready, alone, and subscribed to `u`.
    fn ready() -> Self {
        let mut scene = Self::new();
        scene.subscribes("u");
        scene.becomes_ready();
        scene
    }

    /// As the shell does it; returns how many users' channels had to be subscribed.
    fn becomes_ready(&mut self) -> usize {
        self.state.catch_up();
        self.state.receives_hellos(self.now);
        self.state.begin_hello();
        self.state.hello_returned(1, self.now);
        let Changes { subscribe, .. } = self.state.take_changes(10, self.now);
        self.state.subscribed(&subscribe);
        self.state.caught_up();
        self.state.ready();
        self.state.take_actions();
        subscribe.len()
    }

    fn subscribes(&mut self, to: &str) {
        self.state.subscribe(&user(to));
    }

    fn receives(&mut self, to: &str, seq: Sequence) {
        let generation = self.state.generation;
        self.state
            .received(generation, &user(to), emit_of("other", seq));
    }

    fn receives_from_node(&mut self, message: NodeMessage) {
        let generation = self.state.generation;
        self.state.node_message(generation, message, self.now);
    }

    /// Makes the pending deliveries; returns the numbers of the messages.
    fn delivers(&mut self) -> Vec<Sequence> {
        let deliveries = self.state.take_deliveries();
        let own = deliveries.iter();
        let own = own.filter_map(|delivery| Some((delivery.own?, delivery.over_bus)));
        let own: Vec<_> = own.collect();
        self.state.delivered(&own);
        let seqs = deliveries.iter().map(|delivery| match delivery.message {
            UserMessage::Emit { seq, .. }
            | UserMessage::SessionChanged { seq, .. }
            | UserMessage::Kicked { seq, .. } => seq,
            UserMessage::SessionHeld { .. } => unreachable!("nobody sends one here"),
        });
        seqs.collect()
    }

    /// The actions, as words.
    fn does(&mut self) -> Vec<String> {
        let actions = self.state.take_actions().into_iter();
        let words = actions.map(|action| match action {
            Action::Wake(_) => "Wake".to_owned(),
            Action::Report(news) => format!("{news:?}"),
            other => format!("{other:?}"),
        });
        words.collect()
    }

    fn is_subscribed(&mut self, to: &str) -> bool {
        let poll = self.state.poll_subscribed(&user(to), Waker::noop());
        poll.is_ready()
    }
}

#[test]
fn a_node_is_ready_only_after_it_has_caught_up() {
    let mut scene = Scene::new();
    assert_eq!(scene.state.check(), Err(NotReady::Starting));
    scene.subscribes("u");
    scene.state.catch_up();
    scene.receives("u", 7);
    assert!(scene.delivers().is_empty(), "it waits");
    scene.state.begin_hello();
    scene.state.hello_returned(1, scene.now);
    assert_eq!(
        scene.state.check(),
        Err(NotReady::Starting),
        "a hello does not make it ready"
    );
    scene.state.caught_up();
    assert_eq!(scene.delivers(), [7]);
    assert_eq!(scene.state.check(), Err(NotReady::Starting));
    scene.does();
    scene.state.ready();
    assert_eq!(scene.state.check(), Ok(()));
    assert_eq!(scene.does(), ["Ready"]);
    scene.receives("u", 8);
    assert_eq!(scene.delivers(), [8]);
}

#[test]
fn after_a_lost_connection_every_channel_is_subscribed_again() {
    let mut scene = Scene::ready();
    let before = scene.state.generation();
    assert!(scene.is_subscribed("u"));
    scene.state.lost(lost(), scene.now);
    assert_eq!(scene.state.check(), Err(lost()));
    assert_eq!(
        scene.does(),
        [r#"NotReady(SubscriberLost(Closed))"#, "TendLate"]
    );
    assert!(!scene.is_subscribed("u"));
    // Messages that it still brings are too old: the session may have been replaced since.
    scene
        .state
        .received(before, &user("u"), emit_of("other", 7));
    assert!(scene.state.echo(before, "u", 7));
    scene.state.node_message(before, hello("n", 99), scene.now);
    assert!(scene.delivers().is_empty());
    assert!(scene.state.poll_hello(99, Waker::noop()).is_pending());
    assert_eq!(scene.becomes_ready(), 1);
    assert!(scene.is_subscribed("u"));
}

#[test]
fn messages_held_back_by_a_failed_attempt_to_catch_up_wait_for_the_next() {
    let mut scene = Scene::ready();
    scene.state.lost(lost(), scene.now);
    scene.state.catch_up();
    scene.receives("u", 7);
    scene.state.lost(lost(), scene.now);
    assert!(scene.delivers().is_empty());
    scene.becomes_ready();
    assert_eq!(scene.delivers(), [7]);
}

#[test]
fn messages_wait_while_channels_that_have_moved_are_found_again() {
    let mut scene = Scene::ready();
    scene.state.moved();
    scene.receives("u", 7);
    assert!(scene.delivers().is_empty());
    assert_eq!(scene.state.check(), Ok(()));
    scene.state.followed();
    assert_eq!(scene.delivers(), [7]);
    assert_eq!(scene.does(), ["SayHello"]);
}

#[test]
fn a_doubt_lasts_until_the_next_hello_returns() {
    let mut scene = Scene::ready();
    assert_eq!(scene.state.hello_pause(), HELLO_INTERVAL);
    scene.state.doubt(NotReady::EventLost);
    assert_eq!(scene.state.check(), Err(NotReady::EventLost));
    assert_eq!(scene.does(), ["NotReady(EventLost)", "SayHello"]);
    scene.state.doubt(NotReady::EventUnanswered);
    assert_eq!(scene.state.check(), Err(NotReady::EventLost));
    assert!(scene.does().is_empty(), "it is in doubt already");
    assert!(scene.state.hello_pause() < HELLO_INTERVAL);
    scene.state.begin_hello();
    scene.state.hello_returned(1, scene.now);
    assert_eq!(scene.state.check(), Ok(()));
    assert_eq!(scene.does(), ["Ready"]);
    scene.state.hello_returned(1, scene.now);
    assert!(scene.does().is_empty(), "that is no news");
}

#[test]
fn a_connection_that_takes_no_subscriptions_is_replaced_although_hellos_return() {
    let mut scene = Scene::ready();
    scene.state.changes_overdue();
    assert_eq!(scene.state.check(), Err(NotReady::SubscriptionUnanswered));
    scene.state.hello_returned(1, scene.now);
    assert_eq!(scene.state.check(), Err(NotReady::SubscriptionUnanswered));
    assert_eq!(
        scene.state.take_condemned(),
        None,
        "it may be about to come"
    );
    scene.does();
    scene.state.hello_returned(1, scene.now);
    assert_eq!(scene.does(), ["SayHello"]);
    let why = scene.state.take_condemned();
    assert_eq!(why, Some(NotReady::SubscriptionUnanswered));
    scene
        .state
        .lost(NotReady::SubscriptionUnanswered, scene.now);
    scene.becomes_ready();
    scene.state.hello_returned(1, scene.now);
    assert_eq!(scene.state.check(), Ok(()));
    assert_eq!(scene.state.take_condemned(), None);
}

#[test]
fn a_subscription_that_is_confirmed_late_costs_no_connection() {
    let mut scene = Scene::ready();
    scene.state.changes_overdue();
    scene.state.hello_returned(1, scene.now);
    scene.state.changes_confirmed();
    scene.state.hello_returned(1, scene.now);
    assert_eq!(scene.state.check(), Ok(()));
    assert_eq!(scene.state.take_condemned(), None);
}

#[test]
fn three_hellos_lost_in_a_row_end_the_connection() {
    let mut scene = Scene::ready();
    let unsent = HelloError::Unsent(NotReady::HelloUnanswered);
    for _ in 0..2 {
        scene.state.begin_hello();
        assert_eq!(scene.state.hello_lost(HelloError::NotReturned), Ok(()));
        assert_eq!(scene.state.check(), Err(NotReady::HelloLost));
        // A hello that was not sent does not count.
        scene.state.begin_hello();
        assert_eq!(scene.state.hello_lost(unsent.clone()), Ok(()));
        assert_eq!(scene.state.check(), Err(NotReady::HelloUnanswered));
    }
    assert_eq!(
        scene.does(),
        [
            "NotReady(HelloLost)",
            "StillNotReady(HelloUnanswered)",
            "StillNotReady(HelloLost)",
            "StillNotReady(HelloUnanswered)"
        ]
    );
    // One that returns late shows that Redis is slow, and the count starts again.
    scene.state.begin_hello();
    let seq = scene.state.next();
    scene.receives_from_node(hello("n", seq));
    for _ in 0..3 {
        assert_eq!(scene.state.hello_lost(HelloError::NotReturned), Ok(()));
        scene.state.begin_hello();
    }
    assert_eq!(
        scene.state.hello_lost(HelloError::NotReturned),
        Err(NotReady::HelloLost)
    );
    scene.state.lost(lost(), scene.now);
    scene.becomes_ready();
    scene.state.begin_hello();
    let missed = scene.state.hello_lost(HelloError::NotReturned);
    assert_eq!(
        missed,
        Ok(()),
        "the count starts again with the next connection"
    );
}

#[test]
fn a_hello_returns_under_its_number_or_a_later_one() {
    let mut scene = Scene::ready();
    let seq = scene.state.next();
    assert!(scene.state.poll_hello(seq, Waker::noop()).is_pending());
    scene.receives_from_node(hello("other", seq));
    assert!(scene.state.poll_hello(seq, Waker::noop()).is_pending());
    scene.does();
    scene.receives_from_node(hello("n", seq));
    assert_eq!(scene.does(), ["Wake"]);
    assert!(scene.state.poll_hello(seq, Waker::noop()).is_ready());
    // An older one that arrives after it changes nothing.
    scene.receives_from_node(hello("n", seq - 1));
    assert!(scene.state.poll_hello(seq, Waker::noop()).is_ready());
}

#[test]
fn a_canary_without_receivers_makes_the_node_look_for_the_master() {
    let mut scene = Scene::ready();
    scene.state.set_canaries(vec!["c".to_owned()]);
    assert_eq!(scene.state.begin_hello(), ["c"]);
    scene.state.canary_returned(1);
    assert!(scene.does().is_empty());
    scene.state.canary_returned(0);
    assert_eq!(scene.does(), ["FindMaster"]);
}

#[test]
fn a_node_on_a_replica_is_not_ready() {
    let mut scene = Scene::ready();
    let is_demoted = true;
    scene.state.sees(CommandLink { is_demoted, ..LINK });
    assert!(matches!(scene.state.check(), Err(NotReady::Demoted(_))));
    scene.state.sees(CommandLink { number: 2, ..LINK });
    assert_eq!(scene.state.check(), Ok(()));
}

#[test]
fn nodes_that_join_and_leave_are_reported() {
    let mut scene = Scene::ready();
    scene.receives_from_node(hello("b", 1));
    let (came, left) = ("PeerCame", "PeerLeft");
    let actions = scene.does();
    assert!(actions[0].starts_with(came), "{actions:?}");
    assert_eq!(actions[1..], ["SayHello"]);
    scene.receives_from_node(hello("b", 2));
    assert!(scene.does().is_empty());
    scene.receives_from_node(NodeMessage::Bye { node: node("b") });
    assert!(scene.does()[0].starts_with(left));
    scene.receives_from_node(NodeMessage::Bye { node: node("n") });
    assert!(scene.does().is_empty(), "that was this node itself");
}

#[test]
fn a_confirmed_subscription_wakes_the_tasks_that_wait_for_it() {
    let mut scene = Scene::ready();
    scene.does();
    scene.subscribes("v");
    assert_eq!(scene.does(), ["ChangeSubscriptions"]);
    assert!(!scene.is_subscribed("v"));
    let Changes { subscribe, .. } = scene.state.take_changes(10, scene.now);
    scene.state.subscribed(&subscribe);
    assert_eq!(scene.does(), ["Wake"]);
    assert!(scene.is_subscribed("v"));
    scene.state.unsubscribe(&user("v"));
    assert_eq!(scene.does(), ["ChangeSubscriptions"]);
}

#[test]
fn answers_are_gathered_until_the_question_is_closed() {
    let mut scene = Scene::ready();
    for name in ["b", "c"] {
        scene.receives_from_node(hello(name, 1));
    }
    let seq = scene.state.ask();
    scene.does();
    assert!(scene.state.poll_answers(seq, 2, Waker::noop()).is_pending());
    let answer = |from: Option<&str>, count| NodeMessage::Disconnected {
        seq,
        count,
        from: from.map(node),
    };
    scene.receives_from_node(answer(Some("b"), 2));
    assert_eq!(scene.does(), ["Wake"]);
    assert!(scene.state.poll_answers(seq, 2, Waker::noop()).is_pending());
    assert_eq!(scene.state.silent(seq), [node("c")]);
    // An older release does not say who it is.
    scene.receives_from_node(answer(None, 3));
    assert!(scene.state.poll_answers(seq, 2, Waker::noop()).is_ready());
    let replies: Vec<_> = scene
        .state
        .answers(seq)
        .iter()
        .map(|one| one.reply.clone())
        .collect();
    assert_eq!(replies, [Reply::Disconnected(2), Reply::Disconnected(3)]);
    scene.state.close_question(seq);
    scene.receives_from_node(answer(Some("c"), 1));
    assert!(scene.state.answers(seq).is_empty());
}

#[test]
fn a_message_that_a_peer_would_ignore_is_refused() {
    let mut scene = Scene::ready();
    let change = UserMessage::SessionChanged {
        from: node("n"),
        seq: 1,
        session: SessionId::try_from("s").unwrap(),
    };
    assert_eq!(scene.state.check_peers(&change), Ok(()));
    let build = Build {
        release: "0".to_owned(),
        capabilities: Vec::new(),
    };
    let (node, seq) = (node("old"), 1);
    scene.receives_from_node(NodeMessage::Hello { node, seq, build });
    assert!(scene.state.check_peers(&change).is_err());
}
