//! Wrong servers at the address of Redis: what the doctor and the server say about them.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Duration, sleep},
};

use crate::support::{
    PATIENCE, doctor::Doctor, eventually, process::redis_at, redis::Redis, sentinel::Sentinels,
    sockd::Sockd, within,
};

/// A fake server; stops when dropped.
struct Peer {
    port: u16,
    _connections: JoinSet<()>,
}

#[derive(Clone, Copy)]
enum Manner {
    /// Writes this immediately and closes without reading.
    TurnsAway(&'static [u8]),
    /// Reads once, writes this and closes.
    Answers(&'static [u8]),
    /// Responds with this to each command.
    Repeats(&'static [u8]),
    /// Like twemproxy: knows PING and closes the connection at unknown commands.
    KnowsPing,
}

impl Peer {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(manner.serve(stream));
            }
        });
        Self {
            port,
            _connections: connections,
        }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}

impl Manner {
    async fn serve(self, mut stream: TcpStream) {
        let mut heard = [0; 4096];
        match self {
            Self::TurnsAway(words) => {
                stream.write_all(words).await.ok();
            }
            Self::Answers(words) => {
                if let Ok(1..) = stream.read(&mut heard).await {
                    stream.write_all(words).await.ok();
                }
            }
            Self::Repeats(words) => {
                while let Ok(read @ 1..) = stream.read(&mut heard).await {
                    let commands = heard[..read].iter().filter(|byte| **byte == b'*').count();
                    stream.write_all(&words.repeat(commands)).await.ok();
                }
            }
            Self::KnowsPing => {
                while let Ok(read @ 1..) = stream.read(&mut heard).await {
                    if &heard[..read] != b"*1\r\n$4\r\nPING\r\n" {
                        return;
                    }
                    stream.write_all(b"+PONG\r\n").await.ok();
                }
            }
        }
    }
}

const UPGRADE: &str = "RESP3 (Redis 6.2 or newer, or Valkey)";

#[tokio::test]
async fn another_server_in_place_of_redis_is_named_with_the_remedy() {
    use Manner::{Answers, KnowsPing, Repeats, TurnsAway};
    for (manner, code, said, remedy) in [
        (
            Answers(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html>\r\n</html>"),
            3,
            "an HTTP server answers: \"HTTP/1.1 400 Bad Request\"",
            "port in redis.url",
        ),
        (
            TurnsAway(b"SSH-2.0-OpenSSH_9.6\r\n"),
            3,
            "an SSH server answers: \"SSH-2.0-OpenSSH_9.6\"",
            "port in redis.url",
        ),
        (
            Repeats(b"ERROR\r\n"),
            3,
            "something other than Redis answers: \"ERROR\"",
            "port in redis.url",
        ),
        (
            Answers(b"\x15\x03\x03\x00\x02\x02\x46"),
            3,
            "it speaks TLS",
            "write rediss://",
        ),
        (
            TurnsAway(b""),
            3,
            "it closes the connection at once",
            "write rediss://",
        ),
        (
            TurnsAway(b"-ERR max number of clients reached\r\n"),
            3,
            "ERR max number of clients reached",
            "raise maxclients",
        ),
        (
            Repeats(b"-ERR max number of clients reached\r\n"),
            3,
            "ERR max number of clients reached",
            "raise maxclients",
        ),
        (
            TurnsAway(b"-DENIED Redis is running in protected mode because it is enabled.\r\n"),
            3,
            "DENIED Redis is running in protected mode",
            "requirepass",
        ),
        (
            Repeats(b"-ERR unknown command 'HELLO', with args beginning with: '3' \r\n"),
            1,
            "ERR unknown command 'HELLO'",
            UPGRADE,
        ),
        (
            Repeats(b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n"),
            3,
            "HELLO",
            UPGRADE,
        ),
        (
            Repeats(b"-NOPROTO unsupported protocol version\r\n"),
            1,
            "NOPROTO unsupported protocol version",
            UPGRADE,
        ),
        (KnowsPing, 3, "closes the connection at HELLO", UPGRADE),
    ] {
        let peer = Peer::start(manner).await;
        let url = peer.url("redis");
        let doctor = Doctor::new().env("SOCKD_REDIS__URL", &url);
        let examined = doctor.examine().await;
        assert_eq!(examined.code, Some(code), "{said}: {}", examined.stdout);
        examined.assert("redis", "fail", &[said, remedy]);
        let (_, text) = examined.check("redis");
        assert!(!text.contains('\n'), "{text}");

        let sockd = Sockd::builder().env("SOCKD_REDIS__URL", &url).start().await;
        let is_told = async || {
            let log = sockd.log().text();
            log.lines().any(|line| {
                let line = line.replace("\\\"", "\"");
                line.contains("cannot connect") && line.contains(said) && line.contains(remedy)
            })
        };
        eventually(PATIENCE, said, is_told).await;
    }
}

#[tokio::test]
async fn another_server_in_place_of_a_sentinel_or_a_cluster_is_named_too() {
    let words = ["an HTTP server answers", "port in redis.url"];
    let peer = Peer::start(Manner::Answers(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let address = format!("127.0.0.1:{}", peer.port);
    let sentinels = Doctor::new()
        .env("SOCKD_REDIS__SENTINELS", &address)
        .env("SOCKD_REDIS__SENTINEL_MASTER", "m");
    let cluster = Doctor::new().env("SOCKD_REDIS__CLUSTER", &address);
    for doctor in [sentinels, cluster] {
        let examined = doctor.examine().await;
        assert_eq!(examined.code, Some(3), "{}", examined.stdout);
        examined.assert("redis", "fail", &words);
    }
}

#[tokio::test]
async fn tls_to_a_plain_port_is_reported_whatever_listens() {
    for (manner, said, remedy) in [
        (
            Manner::KnowsPing,
            "it closes the connection at once",
            "maxclients",
        ),
        (
            Manner::TurnsAway(b"SSH-2.0-OpenSSH_9.6\r\n"),
            "InvalidContentType",
            "no TLS at that port",
        ),
    ] {
        let peer = Peer::start(manner).await;
        let doctor = Doctor::new().env("SOCKD_REDIS__URL", peer.url("rediss"));
        let examined = doctor.examine().await;
        assert_eq!(examined.code, Some(3), "{}", examined.stdout);
        examined.assert("redis", "fail", &[said, remedy]);
    }
    let redis = Redis::start().await;
    let url = format!("rediss://127.0.0.1:{}", redis.port);
    let examined = Doctor::new().env("SOCKD_REDIS__URL", url).examine().await;
    assert_eq!(examined.code, Some(3), "{}", examined.stdout);
    let words = ["it answers without TLS", "write redis://"];
    examined.assert("redis", "fail", &words);
}

#[tokio::test]
async fn a_redis_with_too_many_clients_is_reported_by_the_doctor_and_the_server() {
    let redis = Redis::start_with(&["--maxclients", "1"]).await;
    // The connection that saw it start may still count.
    let held = async || {
        loop {
            match redis_at(redis.port) {
                Some(held) => return held,
                None => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let held = within(PATIENCE, "the only connection", held()).await;
    let examined = Doctor::of(&redis).examine().await;
    assert_eq!(examined.code, Some(3), "{}", examined.stdout);
    let words = ["max number of clients reached", "raise maxclients"];
    examined.assert("redis", "fail", &words);
    let sockd = Sockd::builder().redis(&redis).start().await;
    let is_told = async || sockd.log().text().contains("raise maxclients");
    eventually(PATIENCE, "the remedy", is_told).await;
    drop(held);
}

#[tokio::test]
async fn renamed_redis_commands_are_named() {
    for (command, check, verdict) in [
        ("EVALSHA", "rights", "fail"),
        ("SCRIPT", "rights", "fail"),
        ("PUBLISH", "rights", "fail"),
        ("EXPIRE", "rights", "fail"),
        ("SCAN", "operator", "warn"),
        ("TIME", "clock", "warn"),
        ("INFO", "eviction", "warn"),
    ] {
        let redis = Redis::start_with(&["--rename-command", command, ""]).await;
        let examined = Doctor::of(&redis).examine().await;
        let code = i32::from(verdict == "fail");
        assert_eq!(examined.code, Some(code), "{command}: {}", examined.stdout);
        let remedy = format!("remove `rename-command {command}`");
        examined.assert(check, verdict, &[command, &remedy]);
        if command == "EVALSHA" {
            examined.assert("writes", "ok", &[]);
            let sockd = Sockd::builder().redis(&redis).start().await;
            let is_told = async || sockd.log().text().contains(&remedy);
            eventually(PATIENCE, &remedy, is_told).await;
        }
    }
    // Many services disable CONFIG; the doctor then tries a large event.
    let redis = Redis::start_with(&["--rename-command", "CONFIG", ""]).await;
    let examined = Doctor::of(&redis).examine().await;
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    examined.assert("largest", "ok", &["1048576 bytes came back"]);
    let redis = Redis::start_with(&["--rename-command", "HELLO", ""]).await;
    let examined = Doctor::of(&redis).examine().await;
    examined.assert("redis", "fail", &["HELLO", UPGRADE, "rename-command HELLO"]);
}

#[tokio::test]
async fn a_redis_of_another_topology_is_named() {
    let plain = Redis::start().await;
    let address = format!("127.0.0.1:{}", plain.port);
    let examined = Doctor::new()
        .env("SOCKD_REDIS__CLUSTER", &address)
        .examine()
        .await;
    assert_eq!(examined.code, Some(1), "{}", examined.stdout);
    examined.assert(
        "redis",
        "fail",
        &["it is not a Cluster node: use redis.url"],
    );
    let examined = Doctor::new()
        .env("SOCKD_REDIS__SENTINELS", &address)
        .env("SOCKD_REDIS__SENTINEL_MASTER", "m")
        .examine()
        .await;
    assert_eq!(examined.code, Some(1), "{}", examined.stdout);
    examined.assert("redis", "fail", &["it is not a Sentinel", "26379"]);

    let sentinels = Sentinels::start().await;
    let addresses = sentinels.addresses();
    let first = addresses.split(',').next().expect("a Sentinel");
    let examined = Doctor::new()
        .env("SOCKD_REDIS__URL", format!("redis://{first}"))
        .examine()
        .await;
    assert_eq!(examined.code, Some(1), "{}", examined.stdout);
    let words = ["a Sentinel", "set redis.sentinels"];
    examined.assert("role", "fail", &words);
    assert!(!examined.stdout.contains("rights"), "{}", examined.stdout);

    let node = Redis::start_with(&["--cluster-enabled", "yes"]).await;
    let examined = Doctor::of(&node).examine().await;
    assert_eq!(examined.code, Some(1), "{}", examined.stdout);
    examined.assert("role", "fail", &["a Cluster node", "set redis.cluster"]);
    assert!(!examined.stdout.contains("rights"), "{}", examined.stdout);
    let sockd = Sockd::builder().redis(&node).start().await;
    let is_told = async || sockd.log().text().contains("set redis.cluster");
    eventually(PATIENCE, "the remedy", is_told).await;
}
