//! `/metrics` as Prometheus reads it, and everything that is written about it: the documentation, the
//! dashboard, the alerts and their runbook.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, eventually, jwt,
    redis::Redis,
    sockd::Sockd,
    websocket::{WebSocket, is_dismissed},
};

/// Labels that Prometheus or the rules themselves add.
const ADDED: [&str; 4] = ["instance", "job", "le", "severity"];

/// One metric, as an independent parser reads it.
#[derive(Debug, Deserialize)]
struct Family {
    name: String,
    r#type: String,
    help: String,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Family {
    fn labels(&self) -> BTreeSet<&str> {
        let labels = self.samples.iter().flat_map(|(_, labels, _)| labels.keys());
        let labels = labels.map(String::as_str);
        labels.filter(|label| *label != "le").collect()
    }

    /// The sum of all samples of this name with these labels.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |found: &BTreeMap<String, String>| {
            let mut labels = labels.iter();
            labels.all(|(key, value)| found.get(*key).is_some_and(|found| found == value))
        };
        let samples = self.samples.iter();
        let samples = samples.filter(|(found, labels, _)| found == name && fits(labels));
        samples.map(|(_, _, value)| value).sum()
    }
}

pub(super) fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What `prometheus_client` makes of the text.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut parser = Command::new(folder.join(".venv/bin/python"))
        .arg(folder.join("metrics.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts: run tests/run, which installs it");
    let mut stdin = parser.stdin.take().expect("stdin is piped");
    stdin.write_all(text.as_bytes()).expect("the parser reads");
    drop(stdin);
    let output = parser.wait_with_output().expect("the parser ends");
    assert!(
        output.status.success(),
        "it is not Prometheus' format:\n{text}"
    );
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let families = lines.lines().map(|line| {
        let family: Family = serde_json::from_str(line).expect("a family");
        (family.name.clone(), family)
    });
    let families: Vec<_> = families.collect();
    let count = families.len();
    let families = BTreeMap::from_iter(families);
    assert_eq!(families.len(), count, "a family comes twice");
    families
}

async fn scrape(sockd: &Sockd) -> BTreeMap<String, Family> {
    parse(&sockd.metrics().await)
}

/// Every metric that a text names, with the labels that it selects.
pub(super) fn named(text: &str) -> Vec<(String, Vec<String>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let word: String = rest[start..].chars().take_while(|c| is_word(*c)).collect();
        rest = &rest[start + word.len()..];
        if !word.starts_with("sockd_") && !word.starts_with("process_") {
            continue;
        }
        let selector = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split('}').next());
        let labels = selector.unwrap_or_default().split(',').filter_map(|pair| {
            let end = pair.find(['=', '!'])?;
            Some(pair[..end].trim().to_owned())
        });
        found.push((word, labels.collect()));
    }
    found
}

/// Fails unless each metric that is named exists, with the labels.
fn exist(families: &BTreeMap<String, Family>, place: &str, text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (name, labels) in named(text) {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| {
            let base = name.strip_suffix(end)?;
            let family = families.get(base)?;
            (family.r#type == "histogram").then_some(base)
        });
        let name = base.unwrap_or(&name);
        let family = families.get(name);
        let family = family.unwrap_or_else(|| panic!("{place} names {name}, which does not exist"));
        for label in labels {
            let known = family.labels().contains(label.as_str());
            let known = known || ADDED.contains(&label.as_str());
            assert!(known, "{place}: {name} has no label {label}");
        }
        used.insert(name.to_owned());
    }
    used
}

#[tokio::test]
async fn all_that_is_written_about_metrics_is_true() {
    let redis = Redis::start().await;
    let file = |name: &str| format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    // With Redis and TLS, which have metrics of their own.
    let sockd = Sockd::builder()
        .redis(&redis)
        .env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0")
        .env("SOCKD_SERVER__TLS_CERT_FILE", file("server.pem"))
        .env("SOCKD_SERVER__TLS_KEY_FILE", file("server.key.pem"))
        .start()
        .await;
    sockd.is_ready(PATIENCE).await;
    let families = scrape(&sockd).await;
    let documented: BTreeMap<String, (String, BTreeSet<String>, String)> =
        repository("docs/metrics.md")
            .lines()
            .filter_map(|line| {
                let cells: Vec<_> = line.strip_prefix("| `")?.split(" | ").collect();
                let [name, kind, labels, meaning] = cells[..] else {
                    return None;
                };
                let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned);
                let meaning = meaning.strip_suffix(" |")?.to_owned();
                let name = name.strip_suffix('`')?.to_owned();
                Some((name, (kind.to_owned(), labels.collect(), meaning)))
            })
            .collect();
    for (name, family) in &families {
        let (kind, labels, meaning) = documented
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
        assert_eq!(family.r#type, *kind, "{name}");
        assert_eq!(family.help, *meaning, "{name}");
        let known: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
        assert_eq!(family.labels(), known, "{name}");
        assert!(
            !family.samples.is_empty(),
            "{name} is not there from the start"
        );
        // The conventions: a counter says that it is one, and units are seconds and bytes.
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        for unit in ["_ms", "_millis", "_us", "_kib", "_mb", "_minutes"] {
            assert!(!name.contains(unit), "{name}");
        }
    }
    let unknown: Vec<_> = documented
        .keys()
        .filter(|name| !families.contains_key(*name))
        .collect();
    assert!(unknown.is_empty(), "documented, but not there: {unknown:?}");

    exist(&families, "docs/metrics.md", &repository("docs/metrics.md"));
    let runbook = repository("docs/runbook.md");
    exist(&families, "docs/runbook.md", &runbook);

    let rules = repository("deploy/prometheus/sockd.rules.yml");
    exist(&families, "sockd.rules.yml", &rules);
    exist(
        &families,
        "tests/alerts.yml",
        &repository("tests/alerts.yml"),
    );
    let field = |name: &str| {
        let lines = rules.lines().map(str::trim);
        let values = lines.filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "));
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let alerts = field("- alert");
    assert!(alerts.len() > 10, "{alerts:?}");
    let urls: Vec<_> = alerts
        .iter()
        .map(|alert| format!("docs/runbook.md#{}", alert.to_lowercase()))
        .collect();
    assert_eq!(field("runbook_url"), urls);
    let headings: Vec<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    assert_eq!(headings, alerts, "the sections of the runbook");
    for section in runbook.split("\n## ").skip(1) {
        for part in ["**Confirm.**", "**Do.**"] {
            assert!(section.contains(part), "{section}");
        }
    }

    let dashboard: Value =
        serde_json::from_str(&repository("deploy/grafana/sockd.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let queries = targets.map(|target| target["expr"].as_str().expect("a query").to_owned());
    let queries: Vec<_> = queries.collect();
    let shown = exist(&families, "the dashboard", &queries.join("\n"));
    let own = families.keys().filter(|name| name.starts_with("sockd_"));
    let missing: Vec<_> = own.filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "not on the dashboard: {missing:?}");
}

#[tokio::test]
async fn what_happens_is_counted() {
    let redis = Redis::start().await;
    let mut sockd = Sockd::with_redis(&redis).await;
    let (user, old, new) = (jwt::user(), jwt::session(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &old).await;
    sockd
        .emit(&user, "profile:update", &json!("x".repeat(1_000)))
        .await;
    socket.packet().await;
    assert!(
        WebSocket::try_join(sockd.address(), &user, &new)
            .await
            .is_err()
    );
    // The client hears of its refusal before it is counted.
    eventually(PATIENCE, "the refusal on the metrics", async || {
        let refused = r#"sockd_handshake_duration_seconds_count{answer="SESSION_MISMATCH"} 1"#;
        sockd.metrics().await.contains(refused)
    })
    .await;
    let families = scrape(&sockd).await;
    let value = |name: &str, labels: &[(&str, &str)]| families[name].value(name, labels);
    let count = |name: &str, labels: &[(&str, &str)]| {
        families[name].value(&format!("{name}_count"), labels)
    };
    let sum = |name: &str| families[name].value(&format!("{name}_sum"), &[]);
    assert_eq!(value("sockd_sockets", &[]), 1.0);
    assert_eq!(
        value("sockd_sockets_by_transport", &[("transport", "websocket")]),
        1.0
    );
    assert_eq!(
        value("sockd_sockets_by_transport", &[("transport", "polling")]),
        0.0
    );
    assert!(
        value(
            "sockd_connections_opened_total",
            &[("transport", "websocket")]
        ) >= 2.0
    );
    assert!(value("sockd_sent_bytes_total", &[("transport", "websocket")]) > 1_000.0);
    assert!(value("sockd_received_bytes_total", &[("transport", "websocket")]) > 100.0);
    assert_eq!(
        value("sockd_emits_total", &[("event", "profile:update")]),
        1.0
    );
    assert_eq!(
        count("sockd_emit_duration_seconds", &[("result", "ok")]),
        1.0
    );
    assert_eq!(count("sockd_event_sockets", &[]), 1.0);
    assert_eq!(sum("sockd_event_sockets"), 1.0);
    for answer in ["ok", "SESSION_MISMATCH"] {
        let labels = [("answer", answer)];
        assert_eq!(value("sockd_handshakes_total", &labels), 1.0, "{answer}");
        assert_eq!(
            count("sockd_handshake_duration_seconds", &labels),
            1.0,
            "{answer}"
        );
    }
    assert_eq!(value("sockd_sessions_adopted_total", &[]), 1.0);
    for link in ["commands", "subscriber"] {
        assert_eq!(
            value("sockd_redis_connected", &[("link", link)]),
            1.0,
            "{link}"
        );
    }
    for command in ["publish", "claim"] {
        let labels = [("command", command)];
        assert!(
            count("sockd_redis_command_duration_seconds", &labels) >= 1.0,
            "{command}"
        );
    }
    assert!(count("sockd_redis_canary_round_trip_seconds", &[]) >= 1.0);
    assert_eq!(
        value(
            "sockd_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))]
        ),
        1.0
    );
    assert!(value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(value("process_max_fds", &[]) > value("process_open_fds", &[]));

    sockd.force_logout(&user, &new).await;
    is_dismissed(&mut socket).await;
    eventually(PATIENCE, "the end in the metrics", async || {
        let families = scrape(&sockd).await;
        let value = |name: &str, labels: &[(&str, &str)]| families[name].value(name, labels);
        value("sockd_sockets_by_transport", &[]) == 0.0
            && value("sockd_outbound_queued_bytes", &[]) == 0.0
            && value("sockd_events_waiting", &[]) == 0.0
            && value("sockd_sessions_replaced_total", &[]) == 1.0
            && value("sockd_connections_ended_total", &[("why", "dismissed")]) == 1.0
    })
    .await;
    redis.freeze();
    eventually(PATIENCE, "the loss in the metrics", async || {
        let families = scrape(&sockd).await;
        families["sockd_redis_connected"].value("sockd_redis_connected", &[]) == 0.0
            && families["sockd_ready"].value("sockd_ready", &[]) == 0.0
    })
    .await;
    redis.thaw();
    eventually(PATIENCE, "the reconnect in the metrics", async || {
        let families = scrape(&sockd).await;
        let value = |name: &str, labels: &[(&str, &str)]| families[name].value(name, labels);
        value("sockd_redis_connected", &[]) == 2.0
            && value("sockd_redis_reconnects_total", &[("link", "commands")]) >= 1.0
    })
    .await;
    sockd.kill().await;
}
