//! Stock Socket.IO clients, as applications use them.

mod browser;
mod events;
mod handshake;
mod keys;
mod logout;
mod moving;
mod nodes;
mod outage;

use serde_json::{Value, json};

use crate::support::{driver::Driver, jwt, sockd::Sockd};

/// A stock client that uses these transports.
#[derive(Debug, Clone)]
struct Client {
    id: String,
    library: Library,
    transports: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Library {
    SocketIo(u8),
    Python,
}

const WEBSOCKET: &[&str] = &["websocket"];
const POLLING: &[&str] = &["polling"];
const UPGRADE: &[&str] = &["polling", "websocket"];

/// Every supported client over every transport.
fn every_client() -> Vec<Client> {
    let libraries = [
        ("socket.io-client 4", Library::SocketIo(4)),
        ("socket.io-client 3", Library::SocketIo(3)),
        ("python-socketio", Library::Python),
    ];
    let ways = [
        ("websocket", WEBSOCKET),
        ("polling", POLLING),
        ("upgrade", UPGRADE),
    ];
    libraries
        .iter()
        .flat_map(|&(name, library)| {
            ways.iter().map(move |&(way, transports)| Client {
                id: format!("{name} over {way}"),
                library,
                transports,
            })
        })
        .collect()
}

impl Client {
    fn is_python(&self) -> bool {
        self.library == Library::Python
    }
}

/// The processes that the clients run in.
struct Crowd {
    node: Driver,
    python: Driver,
    clocks: usize,
}

impl Crowd {
    async fn start() -> Self {
        let (node, python) = tokio::join!(Driver::node(), Driver::python());
        Self {
            node,
            python,
            clocks: 0,
        }
    }

    /// Starts processes and lets every client join with the token of one session.
    async fn join(sockd: &Sockd, user: &str, session: &str) -> (Self, Vec<Client>) {
        let mut crowd = Self::start().await;
        let clients = every_client();
        let options = json!({ "auth": { "token": jwt::token(user, session) } });
        for client in &clients {
            crowd.connect(client, &sockd.url(), &options);
        }
        for client in &clients {
            crowd.joined(client).await;
        }
        (crowd, clients)
    }

    fn of(&mut self, client: &Client) -> &mut Driver {
        if client.is_python() {
            &mut self.python
        } else {
            &mut self.node
        }
    }

    /// Begins to connect, with short delays between reconnects.
    fn connect(&mut self, client: &Client, url: &str, options: &Value) {
        let mut all = json!({
            "transports": client.transports,
            "reconnectionDelay": 50,
            "reconnectionDelayMax": 200,
        });
        let options = options.as_object().expect("options are an object").clone();
        all.as_object_mut().expect("an object").extend(options);
        let version = match client.library {
            Library::SocketIo(version) => version,
            Library::Python => 0,
        };
        self.of(client).connect(&client.id, version, url, &all);
    }

    async fn next(&mut self, client: &Client) -> Value {
        self.of(client).next(&client.id).await
    }

    /// Joins the namespace at the first attempt, on the last of the client's transports.
    async fn joined(&mut self, client: &Client) {
        let first = self.next(client).await;
        self.joins(client, first).await;
    }

    /// The client loses its transport, and will reconnect by itself.
    async fn loses_its_transport(&mut self, client: &Client) {
        let report = self.next(client).await;
        assert_eq!(report["on"], "disconnect", "{}: {report}", client.id);
        let reason = report["reason"].as_str().expect("a reason");
        assert!(
            ["transport close", "transport error"].contains(&reason),
            "{}: {reason}",
            client.id
        );
        if !client.is_python() {
            assert_eq!(report["again"], true, "{}", client.id);
        }
    }

    /// Joins the namespace again, after any number of attempts.
    async fn rejoined(&mut self, client: &Client) {
        let first = self.of(client).back(&client.id).await;
        self.joins(client, first).await;
    }

    async fn joins(&mut self, client: &Client, first: Value) {
        let last = client.transports.last().copied().expect("a transport");
        let upgrades = client.transports == UPGRADE && !client.is_python();
        let mut reports = vec![first];
        // Which of the two comes first is a race on the client's side.
        if upgrades {
            reports.push(self.next(client).await);
            reports.sort_by_key(|report| report["on"].as_str().map(str::to_owned));
            assert_eq!(
                reports[1],
                json!({ "on": "upgrade", "transport": "websocket" }),
                "{}",
                client.id
            );
        }
        assert_eq!(reports[0]["on"], "connect", "{}: {reports:?}", client.id);
        if !upgrades {
            assert_eq!(reports[0]["transport"], last, "{}", client.id);
        }
    }

    /// The result of a handshake, which may come before or after the upgrade.
    async fn answer(&mut self, client: &Client) -> Value {
        loop {
            let report = self.next(client).await;
            if report["on"] != "upgrade" {
                return report;
            }
        }
    }

    /// The next report is an event with one argument of this JSON.
    async fn hears(&mut self, client: &Client, event: &str, argument: &Value) {
        let report = self.next(client).await;
        assert_eq!(report["on"], "event", "{}: {report}", client.id);
        assert_eq!(report["name"], event, "{}", client.id);
        let arguments = report["args"].as_str().expect("JSON");
        let arguments: Value = serde_json::from_str(arguments).expect("JSON");
        assert_eq!(arguments, json!([argument]), "{}", client.id);
    }

    /// The server has dismissed the socket, and the client will not reconnect.
    async fn is_dismissed(&mut self, client: &Client) {
        let report = self.next(client).await;
        let expected = if client.is_python() {
            json!({ "on": "disconnect", "reason": "server disconnect" })
        } else {
            json!({ "on": "disconnect", "reason": "io server disconnect", "again": false })
        };
        assert_eq!(report, expected, "{}", client.id);
    }

    /// Waits until another client, which the server refuses, has retried five times. Any client that
    /// was going to reconnect would have done so by then.
    async fn wait_for_the_impatient(&mut self, sockd: &Sockd) {
        self.clocks += 1;
        let clock = Client {
            id: format!("clock {}", self.clocks),
            library: Library::SocketIo(2),
            transports: POLLING,
        };
        self.connect(&clock, &sockd.url(), &json!({ "reconnectionDelay": 100 }));
        loop {
            let report = self.next(&clock).await;
            if report["on"] == "reconnect_attempt" && report["attempt"] == 5 {
                break;
            }
        }
        self.node.order(&clock.id, "disconnect", json!({}));
    }

    /// No client reconnects, not even for an attempt that is refused.
    async fn all_stay_away(&mut self, clients: &[Client], sockd: &Sockd) {
        // A refusal is counted only once its client has been told.
        self.wait_for_the_impatient(sockd).await;
        let before = sockd.figure("sockd_handshakes_total").await;
        self.wait_for_the_impatient(sockd).await;
        for client in clients {
            let mut unread = self.of(client).unread(&client.id);
            // Late reports of the first attempt.
            unread.retain(|report| report["on"] != "connect_failed" && report["on"] != "upgrade");
            assert!(unread.is_empty(), "{}: {unread:?}", client.id);
        }
        assert_eq!(sockd.figure("sockd_handshakes_total").await, before);
    }
}
