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

use crate::{
    force_logout::is_dismissed,
    support::{
        PATIENCE, eventually, http, jwt,
        proxy::{Direction, Proxy, Weather, Which},
        redis::{Redis, heard_by},
        sockd::{INTERNAL_SECRET, Sockd},
        websocket::WebSocket,
    },
};

/// An emit is answered within 1.5 s whatever Redis does; the rest is for a loaded machine.
const ANSWERED: Duration = Duration::from_millis(2_000);

/// An event that has not come back after this is late.
const LATE: Duration = Duration::from_secs(1);

const ECHOES: Weather = Weather::Held(Which::Subscribers, Direction::FromRedis);
const ANSWERS: Weather = Weather::Held(Which::Commands, Direction::FromRedis);

/// A node whose network the test can spoil, and which asks for sessions only where it must.
struct Scene {
    redis: Redis,
    proxy: Proxy,
    sockd: Sockd,
}

impl Scene {
    async fn start() -> Self {
        let redis = Redis::start().await;
        let proxy = Proxy::start(&redis).await;
        let sockd = Sockd::builder()
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", proxy.port().to_string())
            .env("SOCKD_SESSIONS__SWEEP_INTERVAL", "1h")
            .start()
            .await;
        sockd.is_ready(PATIENCE).await;
        Self {
            redis,
            proxy,
            sockd,
        }
    }

    /// Lets everything through again, and proves that nothing is to come but this event.
    async fn ends_with(&self, sockets: &mut [WebSocket], user: &str) {
        self.proxy.turn(Weather::Fair);
        self.redis.thaw();
        self.sockd.is_ready(PATIENCE).await;
        self.sockd.emit(user, "profile:update", &json!("end")).await;
        for socket in sockets {
            assert_eq!(socket.packet().await, event("end"));
        }
    }
}

fn event(payload: &str) -> String {
    format!(r#"42["profile:update","{payload}"]"#)
}

/// Which caller an event is of, and which of that caller's it is.
fn numbered(packet: &str) -> (usize, usize) {
    let payload = packet.strip_prefix(r#"42["profile:update",""#);
    let payload = payload.and_then(|rest| rest.strip_suffix(r#""]"#));
    let (caller, number) = payload.and_then(|text| text.split_once(':')).expect(packet);
    let parse = |text: &str| text.parse().expect(packet);
    (parse(caller), parse(number))
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
    let scene = Scene::start().await;
    let Scene {
        redis,
        proxy,
        sockd,
    } = &scene;
    let (user, session, nobody) = (jwt::user(), jwt::session(), jwt::user());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let monitor = redis.monitor();
    proxy.turn(ECHOES);
    let started = Instant::now();
    let late = emit(sockd, &user, "late");
    monitor.sees(&["PUBLISH", &user, "late"]).await;
    // Answered behind it on the same connection, so that Redis' answer to it has come, too.
    while started.elapsed() < LATE / 2 {
        answered(emit(sockd, &nobody, "none")).await;
    }
    let later = emit(sockd, &user, "later");
    monitor.sees(&["PUBLISH", &user, "later"]).await;
    answered(emit(sockd, &nobody, "none")).await;
    // From now on the node cannot see whose session is active.
    proxy.turn(Weather::Held(Which::All, Direction::FromRedis));
    monitor.sees(&["GET", &user]).await;
    // Both come back while the first still waits for the look at the session.
    proxy.turn(ANSWERS);
    for payload in ["late", "later"] {
        assert_eq!(socket.packet().await, event(payload));
    }
    answered(late).await;
    answered(later).await;
    scene.ends_with(&mut [socket], &user).await;
}

#[tokio::test]
async fn events_of_many_callers_come_once_and_share_their_looks_at_the_session() {
    let scene = Scene::start().await;
    let Scene {
        redis,
        proxy,
        sockd,
    } = &scene;
    let (users, session) = ([jwt::user(), jwt::user()], jwt::session());
    let mut sockets = Vec::new();
    for user in &users {
        sockets.push(WebSocket::join(sockd.address(), user, &session).await);
    }
    let monitor = redis.monitor();
    proxy.turn(ECHOES);
    let callers = 20;
    // Each awaits its answer before it goes on.
    let calling = (0..callers).map(|caller| {
        let users = &users;
        async move {
            for turn in 0..3 {
                for user in users {
                    let payload = format!("{caller}:{turn}");
                    assert_eq!(answered(emit(sockd, user, &payload)).await, 200);
                }
            }
        }
    });
    join_all(calling).await;
    for (user, socket) in users.iter().zip(&mut sockets) {
        let mut turns = vec![0; callers];
        for _ in 0..callers * 3 {
            let packet = socket.packet().await;
            let (caller, turn) = numbered(&packet);
            assert_eq!(turn, turns[caller], "caller {caller}");
            turns[caller] += 1;
        }
        let looks = monitor.count(&["\"GET\"", user]);
        assert!(looks < callers, "{looks} looks for {} events", callers * 3);
        // What has come without Redis comes no second time.
        scene.ends_with(std::slice::from_mut(socket), user).await;
    }
}

#[tokio::test]
async fn a_frozen_redis_is_not_asked_for_the_session_at_each_event() {
    let scene = Scene::start().await;
    let Scene { redis, sockd, .. } = &scene;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let monitor = redis.monitor();
    redis.freeze();
    for round in 0..4 {
        let payloads: Vec<_> = (0..50).map(|number| format!("{round}:{number}")).collect();
        let emits: Vec<_> = payloads
            .iter()
            .map(|payload| emit(sockd, &user, payload))
            .collect();
        for emit in emits {
            assert_eq!(answered(emit).await, 200, "this node is alone");
        }
        let mut came = Vec::new();
        for _ in &payloads {
            came.push(socket.packet().await);
        }
        let mut sent: Vec<_> = payloads.iter().map(|payload| event(payload)).collect();
        came.sort();
        sent.sort();
        assert_eq!(came, sent);
    }
    scene.ends_with(&mut [socket], &user).await;
    // A rebuilt link may look once at every session.
    let looks = monitor.count(&["\"GET\"", &user]);
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
async fn a_late_event_reaches_no_session_that_was_replaced_meanwhile() {
    let scene = Scene::start().await;
    let Scene {
        redis,
        proxy,
        sockd,
    } = &scene;
    let other = Sockd::with_redis(redis).await;
    let (user, stays, session) = (jwt::user(), jwt::user(), jwt::session());
    let mut replaced = WebSocket::join(sockd.address(), &user, &session).await;
    let mut unharmed = WebSocket::join(sockd.address(), &stays, &session).await;
    proxy.turn(ECHOES);
    // The node is told, but does not hear it yet.
    other.force_logout(&user, &jwt::session()).await;
    let emits = [emit(sockd, &user, "late"), emit(sockd, &stays, "late")];
    for emit in emits {
        answered(emit).await;
    }
    is_dismissed(&mut replaced).await;
    assert_eq!(unharmed.packet().await, event("late"));
    scene.ends_with(&mut [unharmed], &stays).await;
}

#[tokio::test]
async fn a_session_that_its_own_node_replaces_gets_no_late_event() {
    let scene = Scene::start().await;
    let Scene {
        redis,
        proxy,
        sockd,
    } = &scene;
    let (user, old, new) = (jwt::user(), jwt::session(), jwt::session());
    let mut replaced = WebSocket::join(sockd.address(), &user, &old).await;
    let monitor = redis.monitor();
    proxy.turn(ECHOES);
    let late = emit(sockd, &user, "late");
    monitor.sees(&["PUBLISH", &user, "late"]).await;
    assert_eq!(sockd.force_logout(&user, &new).await, 1);
    answered(late).await;
    is_dismissed(&mut replaced).await;
    proxy.turn(Weather::Fair);
    sockd.is_ready(PATIENCE).await;
    let fresh = WebSocket::join(sockd.address(), &user, &new).await;
    scene.ends_with(&mut [fresh], &user).await;
}

#[tokio::test]
async fn an_event_whose_socket_leaves_meanwhile_is_answered_in_time() {
    let scene = Scene::start().await;
    let Scene {
        redis,
        proxy,
        sockd,
    } = &scene;
    let (user, session) = (jwt::user(), jwt::session());
    let leaving = WebSocket::join(sockd.address(), &user, &session).await;
    let monitor = redis.monitor();
    proxy.turn(ECHOES);
    let late = emit(sockd, &user, "late");
    monitor.sees(&["PUBLISH", &user, "late"]).await;
    leaving.abandon();
    answered(late).await;
    proxy.turn(Weather::Fair);
    sockd.is_ready(PATIENCE).await;
    let back = WebSocket::join(sockd.address(), &user, &session).await;
    scene.ends_with(&mut [back], &user).await;
}

#[tokio::test]
async fn an_event_that_is_lost_on_its_way_back_is_delivered_although_its_caller_left() {
    let scene = Scene::start().await;
    let Scene {
        redis,
        proxy,
        sockd,
    } = &scene;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let monitor = redis.monitor();
    proxy.turn(Weather::Blackhole(Which::Subscribers, Direction::FromRedis));
    let late = emit(sockd, &user, "late");
    monitor.sees(&["PUBLISH", &user, "late"]).await;
    late.abort();
    assert_eq!(socket.packet().await, event("late"));
    scene.ends_with(&mut [socket], &user).await;
}

#[tokio::test]
async fn events_late_on_one_node_come_once_and_in_order_on_both() {
    let scene = Scene::start().await;
    let Scene {
        redis,
        proxy,
        sockd,
    } = &scene;
    let other = Sockd::with_redis(redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let sockets = [
        WebSocket::join(sockd.address(), &user, &session).await,
        WebSocket::join(other.address(), &user, &session).await,
    ];
    heard_by(redis, &user, 2).await;
    proxy.turn(ECHOES);
    let mut sockets = Vec::from(sockets);
    for payload in ["1", "2", "3"] {
        answered(emit(sockd, &user, payload)).await;
        for socket in &mut sockets {
            assert_eq!(socket.packet().await, event(payload));
        }
    }
    scene.ends_with(&mut sockets, &user).await;
}

#[tokio::test]
async fn an_event_that_comes_back_within_the_limit_raises_no_doubt() {
    let scene = Scene::start().await;
    let Scene {
        redis,
        proxy,
        sockd,
    } = &scene;
    let (user, session) = (jwt::user(), jwt::session());
    let socket = WebSocket::join(sockd.address(), &user, &session).await;
    let monitor = redis.monitor();
    proxy.turn(ECHOES);
    let slow = emit(sockd, &user, "slow");
    monitor.sees(&["PUBLISH", &user, "slow"]).await;
    proxy.turn(Weather::Fair);
    assert_eq!(answered(slow).await, 200);
    let mut sockets = [socket];
    assert_eq!(sockets[0].packet().await, event("slow"));
    assert_eq!(monitor.count(&["\"GET\"", &user]), 0);
    eventually(PATIENCE, "readiness", || sockd.is_ready_now()).await;
    scene.ends_with(&mut sockets, &user).await;
}

#[tokio::test]
async fn events_of_a_caller_come_once_and_in_order_whatever_the_network_does() {
    let scene = Scene::start().await;
    let Scene {
        redis,
        proxy,
        sockd,
    } = &scene;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
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
            proxy.turn(weather);
            sleep(Duration::from_millis(milliseconds)).await;
        }
        redis.freeze();
        sleep(Duration::from_millis(1_200)).await;
        redis.thaw();
        over.store(true, Ordering::Relaxed);
    };
    let calling = (0..4).map(|caller| {
        let (over, user) = (&over, &user);
        async move {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                answered(emit(sockd, user, &format!("{caller}:{sent}"))).await;
                sent += 1;
            }
            sent
        }
    });
    let (sent, ()) = tokio::join!(join_all(calling), spoiling);
    let mut next = vec![0; sent.len()];
    for _ in 0..sent.iter().sum() {
        let packet = socket.packet().await;
        let (caller, number) = numbered(&packet);
        assert_eq!(number, next[caller], "caller {caller} of {sent:?}");
        next[caller] += 1;
    }
    scene.ends_with(&mut [socket], &user).await;
}
