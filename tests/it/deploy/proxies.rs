//! nginx and HAProxy with the files of `deploy/`, in front of two nodes: stock clients over TLS.

mod moving;
mod running;

use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use self::running::{Proxy, authority, haproxy, is_open, nginx, nginx_with};
use crate::support::{
    PATIENCE, command::Shell, driver::Driver, eventually, jwt, process::free_port, redis::Redis,
    sockd::Sockd, websocket::WebSocket, within,
};

/// A client of the stock library, and the transports that it is allowed.
const CLIENTS: [(&str, u8, &[&str]); 4] = [
    ("4 by default", 4, &["polling", "websocket"]),
    ("4 over websocket", 4, &["websocket"]),
    ("4 over polling", 4, &["polling"]),
    ("3 by default", 3, &["polling", "websocket"]),
];

/// Behind a proxy that reads HTTP.
const BEHIND_HTTP: [(&str, &str); 1] = [("SOCKD_SERVER__TRUSTED_PROXIES", "127.0.0.1")];
/// Where a client is, as far as the proxy can see.
const ELSEWHERE: &str = "127.0.0.7";

#[tokio::test]
async fn haproxy_with_our_file_serves_two_nodes_over_tls() {
    let redis = Redis::start().await;
    let nodes = nodes(&redis, &BEHIND_HTTP).await;
    let servers = [
        ("10.0.0.1:3000", nodes[0].address().to_string()),
        ("10.0.0.2:3000", nodes[1].address().to_string()),
    ];
    let proxy = haproxy("haproxy/sockd.cfg", &servers).await;
    clients_are_served(proxy, nodes).await;
}

#[tokio::test]
async fn haproxy_with_our_file_for_the_proxy_protocol_serves_two_nodes_over_tls() {
    let redis = Redis::start().await;
    let settings = [
        ("SOCKD_SERVER__PROXY_PROTOCOL", "true"),
        ("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0"),
    ];
    let nodes = nodes(&redis, &settings).await;
    let server = |node: &Sockd| {
        let internal = node.internal_url();
        let (_, port) = internal.rsplit_once(':').expect("a port");
        format!("{} port {port}", node.address())
    };
    let servers = [
        ("10.0.0.1:3000 port 3001", server(&nodes[0])),
        ("10.0.0.2:3000 port 3001", server(&nodes[1])),
    ];
    let proxy = haproxy("haproxy/sockd-proxy-protocol.cfg", &servers).await;
    clients_are_served(proxy, nodes).await;
}

#[tokio::test]
async fn nginx_with_our_file_serves_two_nodes_over_tls() {
    let redis = Redis::start().await;
    let nodes = nodes(&redis, &BEHIND_HTTP).await;
    let proxy = nginx(&nodes).await;
    clients_are_served(proxy, nodes).await;
}

/// nginx holds answers back unless it is told otherwise.
#[tokio::test]
async fn a_trace_comes_live_through_nginx_as_it_comes() {
    let sockd = Sockd::start().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (live, deaf) = (free_port(), free_port());
    let server = |port: u16, more: &str| {
        format!(
            "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {}; {more} }} }}\n",
            sockd.url()
        )
    };
    let servers = [
        server(live, ""),
        server(deaf, "proxy_ignore_headers X-Accel-Buffering;"),
    ];
    let _nginx = nginx_with(&directory, &servers.concat());
    let (user, session) = (jwt::user(), jwt::session());
    let mut children = Vec::new();
    for port in [live, deaf] {
        is_open(port).await;
        let shell = Shell::at(&sockd).env("SOCKD_URL", format!("http://127.0.0.1:{port}"));
        let mut child = shell.spawn(&["trace", &user]);
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        children.push((shell, child, lines));
    }
    eventually(PATIENCE, "both traces", async || {
        sockd.figure("sockd_traces").await == 2.0
    })
    .await;
    let _socket = WebSocket::join(sockd.address(), &user, &session).await;
    let (_, _, lines) = &mut children[0];
    for what in ["began", "session_adopted", "joined"] {
        let line = within(PATIENCE, what, lines.next_line()).await;
        let line = line.expect("UTF-8").expect("it still runs");
        assert_eq!(line.split_whitespace().nth(2), Some(what), "{line}");
    }
    // So it is the header that has let them through.
    let (_, _, held_back) = &mut children[1];
    assert!(held_back.next_line().now_or_never().is_none());
}

/// A path that this nginx passes on is decoded, and `//` and `/../` are taken out of it.
#[tokio::test]
async fn a_user_of_any_id_is_reached_directly_and_through_nginx() {
    let long = "x".repeat(256);
    let ids = [
        ".",
        "..",
        "...",
        "%",
        "%2e%2e",
        "%2F",
        "a/b",
        "/",
        "//",
        "a//b",
        "../x",
        "a/../b",
        ";",
        "a;b=c",
        "?",
        "a?b",
        "#",
        "a&id=b",
        "=",
        "+",
        "a b",
        " ",
        "\\",
        "\"",
        "-",
        "trace",
        "session",
        "é",
        "日本",
        "\u{1f600}",
        "e\u{301}",
        &long,
    ];
    let redis = Redis::start().await;
    let sockd = Sockd::builder()
        .redis(&redis)
        .env("SOCKD_IDS__USER", "any")
        .env("SOCKD_IDS__ANY_MAX_LENGTH", "256")
        .env("SOCKD_IDS__ANY_CHARSET", "!-~ \u{a0}-\u{1ffff}")
        .start()
        .await;
    sockd.is_ready(PATIENCE).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let port = free_port();
    let server = format!(
        "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {}/; }} }}\n",
        sockd.url()
    );
    let _nginx = nginx_with(&directory, &server);
    is_open(port).await;
    for url in [sockd.url(), format!("http://127.0.0.1:{port}")] {
        let shell = Shell::at(&sockd).env("SOCKD_URL", url.as_str());
        let calls = ids.iter().map(async |id| {
            let session = jwt::session();
            redis.store(id, &format!("\"{session}\""), 1_000);
            let shown = shell.run(&["sessions", "show", "--json", id]).await.ok();
            let shown: Value = serde_json::from_str(&shown).expect("JSON");
            assert_eq!(
                (&shown["userId"], &shown["session"]["sessionId"]),
                (&json!(id), &json!(session)),
                "{url}"
            );
            let removed = shell.run(&["sessions", "rm", id]).await.ok();
            assert_eq!(removed, "removed the session\n", "{id:?} {url}");
            assert_eq!(redis.stored(id), None, "{id:?} {url}");
        });
        let calls: Vec<_> = calls.collect();
        stream::iter(calls)
            .buffer_unordered(4)
            .collect::<()>()
            .await;
        for id in ["..", "a/b"] {
            let traced = shell.run(&["trace", id, "--timeout", "3s"]).await.ok();
            assert!(traced.contains(&format!("  user={id}\n")), "{traced}");
        }
        // What is no id at all is not sent anywhere.
        let too_long = format!("{long}x");
        for id in ["", "a\nb", &too_long] {
            shell.run(&["sessions", "show", id]).await.fails(2);
        }
    }
}

/// Clients join and get events through the proxy, internal routes stay closed, and the clients of a
/// node that goes are back on the other one.
async fn clients_are_served(proxy: Proxy, mut nodes: [Sockd; 2]) {
    inside_is_closed(&proxy).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut driver = Driver::node().await;
    for (id, version, transports) in CLIENTS {
        let options = json!({
            "transports": transports,
            "auth": { "token": jwt::token(&user, &session) },
            "ca": authority(),
            "reconnectionDelay": 50,
            "reconnectionDelayMax": 200,
        });
        let url = format!("https://localhost:{}", proxy.tls);
        driver.connect(id, version, &url, &options);
    }
    for (id, ..) in CLIENTS {
        let mut report = driver.next(id).await;
        // The upgrade may be done before the handshake.
        if report["on"] == "upgrade" {
            report = driver.next(id).await;
        }
        assert_eq!(report["on"], "connect", "{id}: {report}");
    }
    for (number, node) in nodes.iter().enumerate() {
        node.emit(&user, "profile:update", &json!(number)).await;
        for (id, ..) in CLIENTS {
            assert_eq!(driver.event(id).await, json!([number]), "{id}");
        }
    }
    sockd_knows_where_a_client_is(&mut driver, &proxy, &nodes).await;
    // All come from one address, so they are on one node; it drains, as in a deploy.
    let sockets = nodes[0].figure("sockd_sockets").await;
    let going = usize::from(sockets == 0.0);
    assert_eq!(nodes[going].drain().await, Some(0));
    for (id, ..) in CLIENTS {
        loop {
            let report = driver.back(id).await;
            match report["on"].as_str() {
                Some("connect") => break,
                Some("disconnect") => assert_ne!(report["again"], false, "{id}: {report}"),
                Some("upgrade") => {}
                _ => panic!("{id}: {report}"),
            }
        }
    }
    let other = &nodes[1 - going];
    other.emit(&user, "profile:update", &json!("back")).await;
    for (id, ..) in CLIENTS {
        assert_eq!(driver.event(id).await, json!(["back"]), "{id}");
    }
    let told = other.force_logout(&user, &jwt::session()).await;
    assert_eq!(told, CLIENTS.len() as u64);
}

/// A client from elsewhere is logged with its own address.
async fn sockd_knows_where_a_client_is(driver: &mut Driver, proxy: &Proxy, nodes: &[Sockd; 2]) {
    let user = jwt::user();
    let options = json!({
        "transports": ["websocket"],
        "auth": { "token": jwt::token(&user, &jwt::session()) },
        "ca": authority(),
        "localAddress": ELSEWHERE,
    });
    let url = format!("https://localhost:{}", proxy.tls);
    driver.connect("elsewhere", 4, &url, &options);
    assert_eq!(driver.next("elsewhere").await["on"], "connect");
    driver.order("elsewhere", "disconnect", json!({}));
    eventually(PATIENCE, "a line with the client's address", async || {
        let texts = nodes.each_ref().map(|node| node.log().text());
        let mut lines = texts.iter().flat_map(|text| text.lines());
        lines.any(|line| {
            line.contains("a socket has ended")
                && line.contains(&user)
                && line.contains(&format!(" address={ELSEWHERE}"))
        })
    })
    .await;
}

/// What is not for clients is 404, and plain HTTP leads to TLS.
async fn inside_is_closed(proxy: &Proxy) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_only([reqwest::Certificate::from_pem(authority().as_bytes()).expect("a PEM")])
        .build()
        .expect("a client");
    let status = async |url: String| client.get(url).send().await.expect("an answer").status();
    for path in [
        "/internal/emit",
        "/metrics",
        "/readyz",
        "/healthz",
        "/",
        "/INTERNAL/emit",
    ] {
        let url = format!("https://localhost:{}{path}", proxy.tls);
        assert_eq!(status(url).await, 404, "{path}");
    }
    let url = format!("http://localhost:{}/socket.io/", proxy.plain);
    assert_eq!(status(url).await, 308);
}

async fn nodes(redis: &Redis, settings: &[(&str, &str)]) -> [Sockd; 2] {
    // Nodes that end soon, with clients that poll.
    let node = async || {
        let builder = Sockd::builder()
            .redis(redis)
            .env("SOCKD_SERVER__DRAIN_WINDOW", "1s")
            .env("SOCKD_LOG__ACCESS", "true");
        let settings = settings.iter();
        let builder = settings.fold(builder, |builder, (name, value)| builder.env(name, *value));
        let node = builder.start().await;
        node.is_ready(PATIENCE).await;
        node
    };
    [node().await, node().await]
}
