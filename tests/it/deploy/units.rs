//! Units of systemd, and what systemd itself says of them.

use std::process::Command;

use super::adapted;
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

fn systemd_analyze() -> Command {
    Command::new("systemd-analyze")
}
