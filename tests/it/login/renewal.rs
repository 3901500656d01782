//! Sessions with a live socket are renewed, and renewal delays nothing else.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::{
    PATIENCE, eventually, jwt,
    proxy::{Proxy, Weather},
    redis::{Redis, key},
    sockd::Sockd,
    websocket::{WebSocket, is_dismissed},
    within,
};

/// One way. With a round trip for each, the renewal of 300 users would take half a minute.
const DELAY: Duration = Duration::from_millis(50);
/// There is a second between two sweeps; the rest is for a slow link and a busy machine.
const SWEPT: Duration = Duration::from_secs(10);

/// A node with users whose sessions must be renewed every quarter of the TTL.
struct Scene {
    redis: Redis,
    network: Proxy,
    sockd: Sockd,
    users: Vec<(String, WebSocket)>,
}

impl Scene {
    async fn start(count: usize, ttl: Duration, sweep_interval: &str) -> Self {
        let redis = Redis::start().await;
        let network = Proxy::start(&redis).await;
        let sockd = Sockd::builder()
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", network.port().to_string())
            .env("SOCKD_SESSIONS__TTL", format!("{}s", ttl.as_secs()))
            .env("SOCKD_SESSIONS__SWEEP_INTERVAL", sweep_interval)
            .start()
            .await;
        sockd.is_ready(PATIENCE).await;
        let join = async || {
            let user = jwt::user();
            let socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
            (user, socket)
        };
        let mut users = Vec::new();
        while users.len() < count {
            users.extend(join_all((0..10).map(|_| join())).await);
        }
        Self {
            redis,
            network,
            sockd,
            users,
        }
    }

    /// Whether every session has so much of its time left.
    fn have_left(&self, time: Duration) -> bool {
        let mut ttls = redis::pipe();
        for (user, _) in &self.users {
            ttls.pttl(key(user));
        }
        let ttls: Vec<i64> = ttls
            .query(&mut self.redis.connection())
            .expect("PTTL works");
        let left = |ttl: &i64| u64::try_from(*ttl).map(Duration::from_millis);
        ttls.iter()
            .all(|ttl| left(ttl).is_ok_and(|left| left > time))
    }
}

#[tokio::test]
async fn a_missed_logout_is_made_up_for_in_time_while_many_sessions_are_renewed() {
    let ttl = Duration::from_secs(32);
    let mut scene = Scene::start(300, ttl, "1s").await;
    scene.network.turn(Weather::Slow(DELAY));
    let since = Instant::now();
    // All are due twice in it.
    while since.elapsed() < ttl / 2 {
        let (user, mut socket) = scene.users.pop().expect("a user is left");
        let other = format!("\"{}\"", jwt::session());
        scene.redis.store(&user, &other, 1_000);
        within(
            SWEPT,
            "the end of the old session",
            is_dismissed(&mut socket),
        )
        .await;
        assert!(scene.have_left(ttl / 2));
    }
}

#[tokio::test]
async fn sessions_that_could_not_be_renewed_are_renewed_once_redis_answers() {
    let ttl = Duration::from_secs(64);
    // Renewed by no sweep.
    let scene = Scene::start(10, ttl, "1h").await;
    // A key of another type is nothing to renew, and does not keep others from it.
    let list = jwt::user();
    let _socket = WebSocket::join(scene.sockd.address(), &list, &jwt::session()).await;
    scene.redis.forget(&list);
    scene.redis.run(&["RPUSH", &key(&list), "a"]);
    scene.redis.run(&["SCRIPT", "FLUSH"]);
    scene.redis.freeze();
    eventually(PATIENCE, "a renewal that fails", async || {
        scene.sockd.log().text().contains("cannot renew sessions")
    })
    .await;
    scene.redis.thaw();
    // Long before the next time that all are due.
    eventually(ttl / 8, "the renewal", async || {
        scene.have_left(ttl * 3 / 4)
    })
    .await;
}
