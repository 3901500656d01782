//! nginx and HAProxy, started with files of `deploy/`.

use std::fs;

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::super::adapted;
use crate::support::{
    PATIENCE, eventually,
    process::{Process, free_port},
    sockd::Sockd,
};

/// A running proxy.
pub(super) struct Proxy {
    /// Where it takes TLS, and where plain HTTP.
    pub(super) tls: u16,
    pub(super) plain: u16,
    _process: Process,
    _directory: TempDir,
}

/// Runs HAProxy with a file of `deploy/` in which this takes the place of what it names.
pub(super) async fn haproxy(name: &str, replacements: &[(&str, String)]) -> Proxy {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let certificate = directory.path().join("server.pem");
    let pem = format!("{}{}", fixture("server.pem"), fixture("server.key.pem"));
    fs::write(&certificate, pem).expect("it is written");
    let certificate = certificate.to_str().expect("UTF-8");
    let (tls, plain) = (free_port(), free_port());
    let (tls_port, plain_port) = (
        format!("bind 127.0.0.1:{tls}"),
        format!("bind 127.0.0.1:{plain}"),
    );
    let mut all = vec![
        ("bind :443", tls_port.as_str()),
        ("bind :80", &plain_port),
        ("/etc/haproxy/push.example.com.pem", certificate),
    ];
    all.extend(
        replacements
            .iter()
            .map(|(named, present)| (*named, present.as_str())),
    );
    let text = adapted(name, &all);
    let file = directory.path().join("sockd.cfg");
    fs::write(&file, text).expect("it is written");
    let process = Process::start("haproxy", &["-db", "-f", file.to_str().expect("UTF-8")]);
    listening(tls, plain, process, directory).await
}

pub(super) async fn nginx(nodes: &[Sockd; 2]) -> Proxy {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| {
        let path = directory.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    };
    fs::write(path("server.pem"), fixture("server.pem")).expect("it is written");
    fs::write(path("server.key"), fixture("server.key.pem")).expect("it is written");
    let (tls, plain) = (free_port(), free_port());
    let text = adapted(
        "nginx/sockd.conf",
        &[
            ("listen 443", &format!("listen 127.0.0.1:{tls}")),
            ("listen 80", &format!("listen 127.0.0.1:{plain}")),
            ("/etc/nginx/push.example.com.pem", &path("server.pem")),
            ("/etc/nginx/push.example.com.key", &path("server.key")),
            ("10.0.0.1:3000", &nodes[0].address().to_string()),
            ("10.0.0.2:3000", &nodes[1].address().to_string()),
        ],
    );
    let process = nginx_with(&directory, &text);
    listening(tls, plain, process, directory).await
}

/// Runs nginx with these servers, and all else as it comes.
pub(super) fn nginx_with(directory: &TempDir, servers: &str) -> Process {
    let path = |name: &str| {
        let path = directory.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {};\n", path(kind)))
        .collect();
    let main = format!(
        "daemon off;\nmaster_process off;\npid {};\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{servers}\n}}\n",
        path("nginx.pid"),
    );
    fs::write(path("nginx.conf"), main).expect("it is written");
    let prefix = path("");
    let arguments = ["-p", &prefix, "-e", "stderr", "-c", &path("nginx.conf")];
    Process::start("nginx", &arguments)
}

async fn listening(tls: u16, plain: u16, process: Process, directory: TempDir) -> Proxy {
    for port in [tls, plain] {
        is_open(port).await;
    }
    Proxy {
        tls,
        plain,
        _process: process,
        _directory: directory,
    }
}

pub(super) async fn is_open(port: u16) {
    eventually(PATIENCE, "the proxy's port", async || {
        TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
}

pub(super) fn authority() -> String {
    fixture("ca.pem")
}

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).expect("a fixture")
}
