//! Clients that HAProxy hands to a second node once it is there: it chooses by the number of connections,
//! not by the client's address.

use serde_json::json;

use super::running::{Proxy, authority, haproxy};
use crate::support::{
    PATIENCE,
    command::Shell,
    driver::Driver,
    eventually, http, jwt,
    process::free_port,
    redis::Redis,
    sockd::{Builder, Sockd},
};

const CLIENTS: usize = 12;

/// A node with all clients, and a second one that HAProxy knows but that is not there yet.
struct Pair {
    redis: Redis,
    first: Sockd,
    second_port: u16,
    /// Answers 200 once both nodes are up.
    both_up: u16,
    driver: Driver,
    user: String,
    settings: fn(Builder) -> Builder,
    _proxy: Proxy,
}

impl Pair {
    async fn with_one_node(settings: fn(Builder) -> Builder) -> Self {
        let redis = Redis::start().await;
        let first = settings(Sockd::builder().redis(&redis)).start().await;
        first.is_ready(PATIENCE).await;
        let (second_port, both_up) = (free_port(), free_port());
        let question = format!(
            "frontend both_up\n    bind 127.0.0.1:{both_up}\n    http-request return status 200 if \
             {{ nbsrv(sockd) eq 2 }}\n    http-request return status 503\n\nfrontend sockd_http\n"
        );
        let proxy = haproxy(
            "haproxy/sockd.cfg",
            &[
                ("balance source", "balance leastconn".to_owned()),
                ("    hash-type consistent\n", String::new()),
                ("10.0.0.1:3000", first.address().to_string()),
                ("10.0.0.2:3000", format!("127.0.0.1:{second_port}")),
                ("frontend sockd_http\n", question),
            ],
        )
        .await;
        let (user, session) = (jwt::user(), jwt::session());
        let mut driver = Driver::node().await;
        for id in ids() {
            let options = json!({
                // Without a hash, the requests of a client that polls would reach both nodes.
                "transports": ["websocket"],
                "auth": { "token": jwt::token(&user, &session) },
                "ca": authority(),
                "reconnectionDelay": 50,
                "reconnectionDelayMax": 200,
            });
            let url = format!("https://localhost:{}", proxy.tls);
            driver.connect(&id, 4, &url, &options);
        }
        for id in ids() {
            assert_eq!(driver.back(&id).await["on"], "connect", "{id}");
        }
        // With an age limit, some may be on their way back already.
        eventually(PATIENCE, "all clients", async || {
            sockets(&first).await == CLIENTS
        })
        .await;
        Self {
            redis,
            first,
            second_port,
            both_up,
            driver,
            user,
            settings,
            _proxy: proxy,
        }
    }

    /// Starts the second node; returns it once HAProxy hands clients to it.
    async fn scale_out(&self) -> Sockd {
        let second = (self.settings)(Sockd::builder().redis(&self.redis));
        let second = second.env("PORT", self.second_port.to_string());
        let second = second.start().await;
        let url = format!("http://127.0.0.1:{}/", self.both_up);
        eventually(PATIENCE, "the second node at HAProxy", async || {
            http::get(&url).await.status() == 200
        })
        .await;
        second
    }
}

fn ids() -> impl Iterator<Item = String> {
    (0..CLIENTS).map(|number| format!("client {number}"))
}

async fn sockets(sockd: &Sockd) -> usize {
    sockd.figure("sockd_sockets").await as usize
}

#[tokio::test]
async fn after_a_scale_out_a_drain_of_half_moves_half_of_the_clients() {
    let mut pair = Pair::with_one_node(|builder| builder).await;
    let second = pair.scale_out().await;
    let shell = Shell::at(&pair.first);
    let drain = shell.run(&["drain", "--share", "0.5", "--over", "1s"]);
    assert!(drain.await.ok().contains("closing 6 of 12 connections"));
    // Events come all the time.
    let mut sent = 0;
    loop {
        let payload = json!(sent);
        pair.first
            .emit(&pair.user, "profile:update", &payload)
            .await;
        sent += 1;
        // Before the counts, so that none is of a socket that is closed later.
        let log = pair.first.log().text();
        let is_done = log.contains("closed connections for sockd drain closing=6");
        let (here, there) = (sockets(&pair.first).await, sockets(&second).await);
        if is_done && here + there == CLIENTS && there >= CLIENTS / 3 {
            break;
        }
        assert!(sent < 100_000, "{here} and {there} sockets");
    }
    second
        .emit(&pair.user, "profile:update", &json!("last"))
        .await;
    let mut moved = 0;
    for id in ids() {
        let (mut heard, mut gone) = (Vec::new(), 0);
        loop {
            let report = pair.driver.back(&id).await;
            match report["on"].as_str() {
                Some("event") if report["args"] == r#"["last"]"# => break,
                Some("event") => {
                    let arguments = report["args"].as_str().expect("JSON");
                    let [number]: [usize; 1] = serde_json::from_str(arguments).expect("a number");
                    heard.push(number);
                }
                Some("disconnect") => {
                    assert_eq!(report["again"], true, "{id}: {report}");
                    gone += 1;
                }
                Some("connect") => {}
                _ => panic!("{id}: {report}"),
            }
        }
        assert!(
            heard.is_sorted_by(|one, next| one < next),
            "{id}: {heard:?}"
        );
        if gone == 0 {
            assert!(
                heard.iter().copied().eq(0..sent),
                "{id}: {heard:?} of {sent}"
            );
        }
        assert!(gone <= 1, "{id} was moved {gone} times");
        moved += gone;
    }
    assert_eq!(moved, CLIENTS / 2);
    // All of them are reached from either node.
    assert_eq!(
        pair.first.force_logout(&pair.user, &jwt::session()).await,
        CLIENTS as u64
    );
}

#[tokio::test]
async fn after_a_scale_out_the_age_of_connections_levels_the_nodes() {
    let mut pair =
        Pair::with_one_node(|builder| builder.env("SOCKD_SERVER__MAX_CONNECTION_AGE", "5s")).await;
    let second = pair.scale_out().await;
    eventually(PATIENCE, "as many clients on either node", async || {
        let (here, there) = (sockets(&pair.first).await, sockets(&second).await);
        here + there == CLIENTS && here.abs_diff(there) <= 2
    })
    .await;
    for id in ids() {
        let gone = pair.driver.back(&id).await;
        assert_eq!(
            (&gone["on"], &gone["again"]),
            (&json!("disconnect"), &json!(true)),
            "{id}"
        );
        assert_eq!(pair.driver.back(&id).await["on"], "connect", "{id}");
    }
}
