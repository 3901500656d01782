//! Units of systemd and manifests of Kubernetes: what systemd itself says of the one, and what the
//! other says of sockd.

use std::process::Command;

use serde_json::Value;

use super::{adapted, file};
use crate::support::{PATIENCE, eventually, http, jwt, process::free_port, sockd::INTERNAL_SECRET};

#[test]
fn systemd_takes_the_units_and_finds_the_service_confined() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for unit in ["sockd.service", "sockd.socket"] {
        let text = match unit {
            // It looks for the program as well.
            "sockd.service" => adapted(
                &format!("systemd/{unit}"),
                &[("/usr/bin/sockd", env!("CARGO_BIN_EXE_sockd"))],
            ),
            _ => adapted(&format!("systemd/{unit}"), &[]),
        };
        std::fs::write(directory.path().join(unit), text).expect("it is written");
    }
    let verify = systemd_analyze()
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(["sockd.service", "sockd.socket"].map(|unit| directory.path().join(unit)))
        .output()
        .expect("systemd-analyze starts");
    let said = String::from_utf8_lossy(&verify.stderr);
    assert!(verify.status.success() && said.is_empty(), "{said}");

    let security = systemd_analyze()
        .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
        .arg(directory.path().join("sockd.service"))
        .output()
        .expect("systemd-analyze starts");
    let said = String::from_utf8_lossy(&security.stdout);
    assert!(security.status.success(), "{said}");
}

/// systemd holds the port, and starts the server for the first connection.
#[tokio::test]
async fn the_port_can_be_one_that_systemd_has_opened() {
    let port = free_port();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut activate = tokio::process::Command::new("systemd-socket-activate");
    activate.args(["--listen", &format!("127.0.0.1:{port}")]);
    for (name, value) in [
        // Which is not used.
        ("PORT", "1"),
        ("JWT_SECRET", jwt::SECRET),
        ("INTERNAL_SECRET", INTERNAL_SECRET),
    ] {
        activate.arg(format!("--setenv={name}={value}"));
    }
    activate.args([env!("CARGO_BIN_EXE_sockd"), "serve"]);
    activate.current_dir(&directory).kill_on_drop(true);
    let _server = activate.spawn().expect("systemd-socket-activate starts");
    let url = format!("http://127.0.0.1:{port}/readyz");
    eventually(PATIENCE, "an answer on that port", async || {
        let answer = http::client().get(&url).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
}

/// There is no Kubernetes to ask, so this checks what the manifests name of sockd.
#[test]
fn the_manifests_name_what_sockd_has() {
    let manifests = yaml("kubernetes/sockd.yaml");
    let of_kind = |kind: &str| {
        let found = manifests.iter().find(|manifest| manifest["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}"))
    };
    let pod = &of_kind("Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["enableServiceLinks"], false);
    assert!(pod["terminationGracePeriodSeconds"].as_u64() > Some(10));
    let container = &pod["containers"][0];
    let image = format!("sockd:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], image);
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert!(container["lifecycle"].is_null(), "no sleep before the end");
    assert_eq!(of_kind("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
    let paths = &of_kind("Ingress")["spec"]["rules"][0]["http"]["paths"];
    assert_eq!(paths.as_array().map(Vec::len), Some(1));
    assert_eq!(paths[0]["path"], "/socket.io/");

    // The variables and the file that the pods get can be served.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let settings = of_kind("ConfigMap")["data"]["sockd.toml"].as_str();
    let settings_file = directory.path().join("sockd.toml");
    std::fs::write(&settings_file, settings.expect("a file")).expect("it is written");
    let mut check = Command::new(env!("CARGO_BIN_EXE_sockd"));
    check.args(["config", "check"]).env_clear();
    for variable in container["env"].as_array().expect("variables") {
        let name = variable["name"].as_str().expect("a name");
        let value = match name {
            "SOCKD_CONFIG" => settings_file.to_str().expect("UTF-8"),
            "REDIS_URL" => "redis://redis:6379",
            _ => "a-secret-of-thirty-two-bytes-or-more",
        };
        check.env(name, value);
    }
    let output = check.current_dir(&directory).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !said.contains("unknown"),
        "{said}"
    );
}

/// The documents of a YAML file, read by Python's YAML.
fn yaml(name: &str) -> Vec<Value> {
    let python = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/clients/.venv/bin/python"
    );
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = Command::new(python)
        .args(["-c", script])
        .arg(file(name))
        .output()
        .expect("tests/run installs Python's packages");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn systemd_analyze() -> Command {
    Command::new("systemd-analyze")
}
