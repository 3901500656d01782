//! The manifests of Kubernetes, which are not run here: they are checked against the API's own schemas,
//! and what they set for sockd by sockd.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;

use super::file;
use crate::support::{PATIENCE, command::Shell, eventually, http, redis::Redis, sockd::Sockd};

const MANIFESTS: &str = "kubernetes/sockd.yaml";
/// The oldest and the newest API whose schemas the package has.
const VERSIONS: [&str; 2] = ["1.25", "1.37"];

struct Manifests(Vec<Value>);

impl Manifests {
    fn read() -> Self {
        Self(yaml(MANIFESTS))
    }

    fn of_kind(&self, kind: &str) -> &Value {
        let found = self.0.iter().find(|manifest| manifest["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}"))
    }

    fn pod(&self) -> &Value {
        &self.of_kind("Deployment")["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }
}

fn python(program: &str) -> Command {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/.venv/bin/");
    Command::new(format!("{folder}{program}"))
}

#[test]
fn the_api_of_kubernetes_takes_the_manifests_and_knows_every_field() {
    for version in VERSIONS {
        let judged = python("kubernetes-validate")
            .args(["--strict", "-k", version])
            .arg(file(MANIFESTS))
            .output()
            .expect("kubernetes-validate starts: run tests/run, which installs it");
        let said = [judged.stdout, judged.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(judged.status.success(), "{version}: {said}");
        let passed = said.matches(" passed for resource ").count();
        assert_eq!(passed, Manifests::read().0.len(), "{version}: {said}");
    }
}

/// What one manifest names, another one or the image has.
#[test]
fn the_manifests_fit_together() {
    let manifests = Manifests::read();
    let (pod, container) = (manifests.pod(), manifests.container());
    assert_eq!(pod["enableServiceLinks"], false);
    assert!(pod["terminationGracePeriodSeconds"].as_u64() > Some(10));
    assert!(container["lifecycle"].is_null(), "no sleep before the end");
    let image = format!("sockd:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], image);
    assert_eq!(
        manifests.of_kind("PodDisruptionBudget")["spec"]["maxUnavailable"],
        1
    );

    let deployment = &manifests.of_kind("Deployment")["spec"];
    let labels = &deployment["template"]["metadata"]["labels"];
    let service = manifests.of_kind("Service");
    for selector in [
        &deployment["selector"]["matchLabels"],
        &manifests.of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        &service["spec"]["selector"],
    ] {
        assert_eq!(selector, labels);
    }
    let port = &container["ports"][0];
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], port["name"], "{probe}");
    }
    let paths = &manifests.of_kind("Ingress")["spec"]["rules"][0]["http"]["paths"];
    assert_eq!(paths.as_array().map(Vec::len), Some(1));
    let backend = &paths[0]["backend"]["service"];
    assert_eq!(paths[0]["path"], "/socket.io/");
    assert_eq!(backend["name"], service["metadata"]["name"]);
    assert_eq!(backend["port"]["name"], service["spec"]["ports"][0]["name"]);
    let volume = &pod["volumes"][0];
    assert_eq!(container["volumeMounts"][0]["name"], volume["name"]);
    let settings = manifests.of_kind("ConfigMap");
    assert_eq!(volume["configMap"]["name"], settings["metadata"]["name"]);

    // The command at the top makes the Secret that the pods read.
    let text = fs::read_to_string(file(MANIFESTS)).expect("text");
    let made = text.split("--from-literal=").skip(1);
    let made: BTreeSet<_> = made.filter_map(|key| key.split('=').next()).collect();
    let variables = container["env"].as_array().expect("variables").iter();
    let read = variables.filter_map(|variable| {
        let reference = variable["valueFrom"].get("secretKeyRef")?;
        assert_eq!(reference["name"], "sockd");
        reference["key"].as_str()
    });
    assert_eq!(read.collect::<BTreeSet<_>>(), made);
}

/// A node with the file and the variables of the pods answers where the manifests say.
#[tokio::test]
async fn a_pod_is_served_as_the_manifests_say() {
    let manifests = Manifests::read();
    let container = manifests.container();
    let settings = manifests.of_kind("ConfigMap")["data"]["sockd.toml"].as_str();
    let mut shell = Shell::new().file("sockd.toml", settings.expect("a file"));
    let redis = Redis::start().await;
    let mut builder = Sockd::builder();
    for variable in container["env"].as_array().expect("variables") {
        let name = variable["name"].as_str().expect("a name");
        let value = match name {
            "SOCKD_CONFIG" => {
                let mount = &container["volumeMounts"][0]["mountPath"];
                let mount = mount.as_str().expect("a path");
                assert_eq!(variable["value"], format!("{mount}/sockd.toml"));
                shell.path("sockd.toml").display().to_string()
            }
            "REDIS_URL" => format!("redis://127.0.0.1:{}", redis.port),
            _ => "a-secret-of-thirty-two-bytes-or-more".to_owned(),
        };
        shell = shell.env(name, &value);
        builder = builder.env(name, value);
    }
    let checked = shell.run(&["config", "check"]).await;
    assert_eq!(
        (checked.code, checked.stderr.as_str()),
        (Some(0), ""),
        "{checked:?}"
    );
    let shown = shell.run(&["config", "show", "--json"]).await.ok();
    let shown = shown
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let port = shown
        .into_iter()
        .find(|setting| setting["key"] == "server.port");
    let port = port.expect("the port")["value"].clone();
    let template = &manifests.of_kind("Deployment")["spec"]["template"];
    let annotations = &template["metadata"]["annotations"];
    assert_eq!(
        container["ports"][0]["containerPort"].to_string(),
        port_text(&port)
    );
    assert_eq!(annotations["prometheus.io/port"], port_text(&port));

    // The tests find the address in a log of text.
    let builder = builder.env("PORT", "0").env("SOCKD_LOG__FORMAT", "text");
    let node = builder.start().await;
    node.is_ready(PATIENCE).await;
    let path = |probe: &str| {
        let path = container[probe]["httpGet"]["path"].as_str();
        format!("{}{}", node.url(), path.expect("a path"))
    };
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(http::get(&path(probe)).await.status(), 200, "{probe}");
    }
    // Which Prometheus asks for without a secret, at its usual path.
    assert_eq!(annotations["prometheus.io/path"], Value::Null);
    let metrics = http::get(&format!("{}/metrics", node.url())).await;
    assert_eq!(metrics.status(), 200);
    // A Redis that is away takes the node out, but does not restart it.
    drop(redis);
    let ready = path("readinessProbe");
    eventually(PATIENCE, "a node that is not ready", async || {
        http::get(&ready).await.status() == 503
    })
    .await;
    assert_eq!(http::get(&path("livenessProbe")).await.status(), 200);
}

fn port_text(port: &Value) -> String {
    port.as_str()
        .map_or_else(|| port.to_string(), str::to_owned)
}

/// The documents of a YAML file, read by Python's YAML.
fn yaml(name: &str) -> Vec<Value> {
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = python("python")
        .args(["-c", script])
        .arg(file(name))
        .output()
        .expect("tests/run installs Python's packages");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
