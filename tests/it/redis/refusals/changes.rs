//! A change of session is made and announced, or neither: each right that it needs is missing once.

use redis::{Commands, cmd};
use serde_json::json;

use super::{UNAVAILABLE, assert_unavailable, refused};
use crate::support::{
    PATIENCE, jwt,
    redis::{Redis, key},
    sockd::Sockd,
    websocket::WebSocket,
};

const LOGOUT: &str = r#"42["auth:logout",{"reason":"SESSION_REPLACED"}]"#;

/// Live sockets of three users: one whose key is as sockd left it, one whose key was lost, and one
/// whose key is no text.
struct Users {
    session: String,
    sockets: [(String, WebSocket); 3],
}

impl Users {
    async fn join(sockd: &Sockd, redis: &Redis) -> Self {
        let session = jwt::session();
        let join = async || {
            let user = jwt::user();
            let socket = WebSocket::join(sockd.address(), &user, &session).await;
            (user, socket)
        };
        let sockets = [join().await, join().await, join().await];
        let [(kept, _), (lost, _), (list, _)] = &sockets;
        redis.store(kept, &format!("\"{session}\""), 1_000);
        redis.forget(lost);
        redis.forget(list);
        let connection = &mut redis.connection();
        let () = connection.rpush(key(list), "a").expect("RPUSH works");
        let () = connection.expire(key(list), 1_000).expect("EXPIRE works");
        Self { session, sockets }
    }

    /// What is under their keys, and for how long.
    fn stored(&self, redis: &Redis) -> Vec<(Option<Vec<u8>>, bool)> {
        let stored = |(user, _): &(String, WebSocket)| {
            let mut dump = cmd("DUMP");
            let text = dump.arg(key(user)).query(&mut redis.connection());
            (text.expect("DUMP works"), redis.ttl(user) > 1_000)
        };
        self.sockets.iter().map(stored).collect()
    }

    /// Every change is refused, and nothing that can be seen has changed.
    async fn are_left_alone(&mut self, sockd: &Sockd, redis: &Redis) {
        let before = self.stored(redis);
        for (user, socket) in &mut self.sockets {
            assert_unavailable(sockd, user).await;
            let own = refused(sockd, user, &jwt::session()).await;
            assert!(own.starts_with("44"), "{own}");
            sockd.emit(user, "profile:update", &json!(1)).await;
            assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
        }
        let (lost, _) = &self.sockets[1];
        assert_eq!(refused(sockd, lost, &self.session).await, UNAVAILABLE);
        assert_eq!(self.stored(redis), before);
    }

    /// Another session takes over, for the whole of its time.
    async fn are_logged_out(mut self, sockd: &Sockd, redis: &Redis) {
        for (user, socket) in &mut self.sockets {
            let session = jwt::session();
            sockd.force_logout(user, &session).await;
            assert_eq!(socket.packet().await, LOGOUT);
            assert_eq!(redis.stored(user), Some(format!("\"{session}\"")));
            assert!(redis.is_renewed(user), "{}", redis.ttl(user));
        }
    }
}

#[tokio::test]
async fn a_change_of_session_without_all_rights_leaves_everything_as_it_was() {
    let redis = Redis::start().await;
    let sockd = start_as_narrow(&redis).await;
    let mut users = Users::join(&sockd, &redis).await;
    for (missing, mended) in [
        ("-publish", "+publish"),
        ("resetchannels", "allchannels"),
        ("-set", "+set"),
        ("-get", "+get"),
        ("-evalsha", "+evalsha"),
        ("resetkeys", "allkeys"),
        // With nothing to put back by, what was done would stay done.
        ("-publish -expire", "+publish +expire"),
        ("-publish -get", "+publish +get"),
    ] {
        change_narrow(&redis, missing);
        users.are_left_alone(&sockd, &redis).await;
        change_narrow(&redis, mended);
        sockd.is_ready(PATIENCE).await;
    }
    users.are_logged_out(&sockd, &redis).await;
}

#[tokio::test]
async fn a_change_of_session_needs_no_right_to_expire() {
    let redis = Redis::start().await;
    let sockd = start_as_narrow(&redis).await;
    let users = Users::join(&sockd, &redis).await;
    change_narrow(&redis, "-expire");
    let (user, session) = (jwt::user(), jwt::session());
    WebSocket::join(sockd.address(), &user, &session).await;
    assert!(redis.is_renewed(&user), "{}", redis.ttl(&user));
    users.are_logged_out(&sockd, &redis).await;
}

/// With all rights, until they are changed.
async fn start_as_narrow(redis: &Redis) -> Sockd {
    change_narrow(redis, "on >pw ~* &* +@all");
    let url = format!("redis://narrow:pw@127.0.0.1:{}", redis.port);
    let sockd = Sockd::builder().env("SOCKD_REDIS__URL", url).start().await;
    sockd.is_ready(PATIENCE).await;
    sockd
}

fn change_narrow(redis: &Redis, rules: &str) {
    let user = "ACL SETUSER narrow".split(' ');
    redis.run(&user.chain(rules.split(' ')).collect::<Vec<_>>());
}
