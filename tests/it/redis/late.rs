//! Events whose way over Redis takes too long, so that their node delivers them without it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::support::{
    PATIENCE, http, jwt,
    proxy::{Direction, Proxy, Weather, Which},
    redis::{Monitor, Redis, heard_by},
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::{WebSocket, is_dismissed},
};

/// An emit returns within 1.5 s whatever Redis does; twice that is for a busy machine.
const ANSWERED: Duration = Duration::from_secs(3);

/// An event that has not come back after this is late.
const LATE: Duration = Duration::from_secs(1);

const ECHOES: Weather = Weather::Held(Which::Subscribers, Direction::FromRedis);
const ANSWERS: Weather = Weather::Held(Which::Commands, Direction::FromRedis);

/// A node whose network the test can spoil, and which asks for sessions only where it must.
struct Scene {
    redis: Redis,
    monitor: Monitor,
    proxy: Proxy,
    sockd: Sockd,
    user: String,
    session: String,
}

impl Scene {
    /// With a socket of the user.
    async fn start() -> (Self, WebSocket) {
        let redis = Redis::start().await;
        let proxy = Proxy::start(&redis).await;
        let sockd = Sockd::builder()
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", proxy.port().to_string())
            .env("SOCKD_SESSIONS__SWEEP_INTERVAL", "1h")
            .start()
            .await;
        sockd.is_ready(PATIENCE).await;
        let (user, session) = (jwt::user(), jwt::session());
        let socket = WebSocket::join(sockd.address(), &user, &session).await;
        let scene = Self {
            // The handshake's own look does not count.
            monitor: redis.monitor(),
            redis,
            proxy,
            sockd,
            user,
            session,
        };
        (scene, socket)
    }

    async fn join(&self, session: &str) -> WebSocket {
        WebSocket::join(self.sockd.address(), &self.user, session).await
    }

    fn emit(&self, payload: &str) -> JoinHandle<(u16, Duration)> {
        emit(&self.sockd, &self.user, payload)
    }

    /// Emits, and sees that Redis has got it.
    async fn send(&self, payload: &str) -> JoinHandle<(u16, Duration)> {
        let emit = self.emit(payload);
        self.monitor.sees(&["PUBLISH", &self.user, payload]).await;
        emit
    }

    /// How often the user's session was read.
    fn looks(&self) -> usize {
        self.monitor.count(&["\"GET\"", &self.user])
    }

    async fn clears_up(&self) {
        self.proxy.turn(Weather::Fair);
        self.redis.thaw();
        self.sockd.is_ready(PATIENCE).await;
    }

    /// Lets everything through again, and proves that nothing else was still to come.
    async fn ends(&self, sockets: &mut [WebSocket]) {
        self.clears_up().await;
        self.sockd
            .emit(&self.user, "profile:update", &json!("end"))
            .await;
        for socket in sockets {
            assert_eq!(socket.packet().await, event("end"));
        }
    }
}

fn event(payload: &str) -> String {
    format!(r#"42["profile:update","{payload}"]"#)
}

/// Sees that the events `caller:number` come once each, and those of each caller in their order.
async fn come_in_order(socket: &mut WebSocket, sent: &[usize]) {
    let mut next = vec![0; sent.len()];
    for _ in 0..sent.iter().sum() {
        let packet = socket.packet().await;
        let payload = packet.strip_prefix(r#"42["profile:update",""#);
        let payload = payload.and_then(|rest| rest.strip_suffix(r#""]"#));
        let (caller, number) = payload
            .and_then(|text| text.split_once(':'))
            .expect(&packet);
        let due = &mut next[caller.parse::<usize>().expect("a number")];
        assert_eq!(number, due.to_string(), "caller {caller} of {sent:?}");
        *due += 1;
    }
}

/// Emits in the background; resolves to the status and the time that it took.
fn emit(sockd: &Sockd, user: &str, payload: &str) -> JoinHandle<(u16, Duration)> {
    let body = json!({ "userId": user, "event": "profile:update", "payload": payload });
    let request = http::client()
        .post(format!("{}/internal/emit", sockd.url()))
        .bearer_auth(INTERNAL_SECRET)
        .json(&body);
    tokio::spawn(async move {
        let started = Instant::now();
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), started.elapsed())
    })
}

async fn answered(emit: JoinHandle<(u16, Duration)>) -> u16 {
    let (status, took) = emit.await.expect("the emit was made");
    assert!(took < ANSWERED, "{took:?}");
    status
}

#[tokio::test]
async fn a_later_event_does_not_pass_one_that_is_late() {
    let (scene, mut socket) = Scene::start().await;
    let nobody = jwt::user();
    scene.proxy.turn(ECHOES);
    let started = Instant::now();
    let late = scene.send("late").await;
    // Redis replies to these after the first, on the same connection, so that reply has come too.
    while started.elapsed() < LATE / 2 {
        answered(emit(&scene.sockd, &nobody, "none")).await;
    }
    let later = scene.send("later").await;
    answered(emit(&scene.sockd, &nobody, "none")).await;
    // From now on the node cannot see whose session is active.
    scene
        .proxy
        .turn(Weather::Held(Which::All, Direction::FromRedis));
    scene.monitor.sees(&["\"GET\"", &scene.user]).await;
    // Both come back while the first still waits for the session to be read.
    scene.proxy.turn(ANSWERS);
    for payload in ["late", "later"] {
        assert_eq!(socket.packet().await, event(payload));
    }
    answered(late).await;
    answered(later).await;
    scene.ends(&mut [socket]).await;
}

#[tokio::test]
async fn events_of_many_callers_come_once_and_share_their_looks_at_the_session() {
    let (scene, mut socket) = Scene::start().await;
    let other = jwt::user();
    let mut others = WebSocket::join(scene.sockd.address(), &other, &scene.session).await;
    scene.proxy.turn(ECHOES);
    let callers = 20;
    let calling = (0..callers).map(|caller| {
        let (scene, other) = (&scene, &other);
        // Each waits for its response before it continues.
        async move {
            for turn in 0..3 {
                let payload = format!("{caller}:{turn}");
                assert_eq!(answered(scene.emit(&payload)).await, 200);
                assert_eq!(answered(emit(&scene.sockd, other, &payload)).await, 200);
            }
        }
    });
    join_all(calling).await;
    for socket in [&mut socket, &mut others] {
        come_in_order(socket, &vec![3; callers]).await;
    }
    let (looks, events) = (scene.looks(), callers * 3);
    // On a busy machine fewer of them are late at the same time.
    assert!(looks * 4 < events * 3, "{looks} looks for {events} events");
    // What has come without Redis comes no second time.
    scene.ends(&mut [socket]).await;
}

#[tokio::test]
async fn a_frozen_redis_is_not_asked_for_the_session_at_each_event() {
    let (scene, mut socket) = Scene::start().await;
    scene.redis.freeze();
    let callers = 50;
    for turn in 0..4 {
        let emits: Vec<_> = (0..callers)
            .map(|caller| scene.emit(&format!("{caller}:{turn}")))
            .collect();
        for emit in emits {
            assert_eq!(answered(emit).await, 200, "this node is alone");
        }
    }
    come_in_order(&mut socket, &vec![4; callers]).await;
    scene.ends(&mut [socket]).await;
    // A rebuilt link may look once at every session.
    let looks = scene.looks();
    assert!(looks <= 2, "{looks} looks");
}

#[tokio::test]
async fn an_emit_is_answered_in_time_by_a_node_that_finds_redis_frozen() {
    let redis = Redis::start().await;
    redis.freeze();
    let sockd = Sockd::builder().redis(&redis).start().await;
    for _ in 0..3 {
        assert_eq!(answered(emit(&sockd, &jwt::user(), "1")).await, 503);
    }
}

#[tokio::test]
async fn a_late_event_reaches_no_session_that_another_node_has_replaced() {
    let (scene, mut unharmed) = Scene::start().await;
    let other = Sockd::with_redis(&scene.redis).await;
    let leaves = jwt::user();
    let mut replaced = WebSocket::join(scene.sockd.address(), &leaves, &scene.session).await;
    scene.proxy.turn(ECHOES);
    // The message is published, but the node has not received it yet.
    other.force_logout(&leaves, &jwt::session()).await;
    let emits = [emit(&scene.sockd, &leaves, "late"), scene.emit("late")];
    for emit in emits {
        answered(emit).await;
    }
    is_dismissed(&mut replaced).await;
    assert_eq!(unharmed.packet().await, event("late"));
    scene.ends(&mut [unharmed]).await;
}

#[tokio::test]
async fn a_late_event_reaches_no_session_that_its_own_node_has_replaced() {
    let (scene, mut replaced) = Scene::start().await;
    let new = jwt::session();
    scene.proxy.turn(ECHOES);
    let late = scene.send("late").await;
    assert_eq!(scene.sockd.force_logout(&scene.user, &new).await, 1);
    answered(late).await;
    is_dismissed(&mut replaced).await;
    scene.clears_up().await;
    let fresh = scene.join(&new).await;
    scene.ends(&mut [fresh]).await;
}

#[tokio::test]
async fn an_event_whose_socket_leaves_meanwhile_is_answered_in_time() {
    let (scene, leaving) = Scene::start().await;
    scene.proxy.turn(ECHOES);
    let late = scene.send("late").await;
    leaving.abandon();
    answered(late).await;
    scene.clears_up().await;
    let back = scene.join(&scene.session).await;
    scene.ends(&mut [back]).await;
}

#[tokio::test]
async fn an_event_that_is_lost_on_its_way_back_is_delivered_although_its_caller_left() {
    let (scene, mut socket) = Scene::start().await;
    let lost = Weather::Blackhole(Which::Subscribers, Direction::FromRedis);
    scene.proxy.turn(lost);
    scene.send("late").await.abort();
    assert_eq!(socket.packet().await, event("late"));
    scene.ends(&mut [socket]).await;
}

#[tokio::test]
async fn events_late_on_one_node_come_once_and_in_order_on_both() {
    let (scene, socket) = Scene::start().await;
    let other = Sockd::with_redis(&scene.redis).await;
    let there = WebSocket::join(other.address(), &scene.user, &scene.session).await;
    let mut sockets = [socket, there];
    heard_by(&scene.redis, &scene.user, 2).await;
    scene.proxy.turn(ECHOES);
    for payload in ["1", "2", "3"] {
        answered(scene.emit(payload)).await;
        for socket in &mut sockets {
            assert_eq!(socket.packet().await, event(payload));
        }
    }
    scene.ends(&mut sockets).await;
}

#[tokio::test]
async fn an_event_that_comes_back_in_time_needs_no_session_check() {
    let (scene, mut socket) = Scene::start().await;
    for attempt in 0.. {
        let (before, payload) = (scene.looks(), format!("slow {attempt}"));
        scene.proxy.turn(ECHOES);
        let slow = scene.send(&payload).await;
        scene.proxy.turn(Weather::Fair);
        let (status, took) = slow.await.expect("the emit was made");
        assert_eq!(status, 200);
        assert_eq!(socket.packet().await, event(&payload));
        // MONITOR shows what came before this, too.
        scene.redis.run(&["PING", &payload]);
        scene.monitor.sees(&["PING", &payload]).await;
        if took < LATE {
            assert_eq!(scene.looks(), before);
            break;
        }
        // On a busy machine an event can be late all the same.
        assert!(attempt < 20, "{took:?}");
    }
    scene.ends(&mut [socket]).await;
}

#[tokio::test]
async fn events_of_a_caller_come_once_and_in_order_whatever_the_network_does() {
    let (scene, mut socket) = Scene::start().await;
    let over = AtomicBool::new(false);
    let weathers = [
        (ECHOES, 1_300),
        (Weather::Fair, 200),
        (ANSWERS, 700),
        (ECHOES, 500),
        (Weather::Cut, 300),
        (Weather::Fair, 700),
        (Weather::Held(Which::All, Direction::FromRedis), 1_200),
        (ECHOES, 400),
        (Weather::Slow(Duration::from_millis(300)), 1_500),
        (
            Weather::Blackhole(Which::Subscribers, Direction::FromRedis),
            1_500,
        ),
        (Weather::Fair, 300),
    ];
    let spoiling = async {
        for (weather, milliseconds) in weathers {
            scene.proxy.turn(weather);
            sleep(Duration::from_millis(milliseconds)).await;
        }
        scene.redis.freeze();
        sleep(Duration::from_millis(1_200)).await;
        scene.redis.thaw();
        over.store(true, Ordering::Relaxed);
    };
    let calling = (0..4).map(|caller| {
        let (over, scene) = (&over, &scene);
        async move {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                answered(scene.emit(&format!("{caller}:{sent}"))).await;
                sent += 1;
            }
            sent
        }
    });
    let (sent, ()) = tokio::join!(join_all(calling), spoiling);
    come_in_order(&mut socket, &sent).await;
    scene.ends(&mut [socket]).await;
}
