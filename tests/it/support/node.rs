//! The server in Node that sockd is compared with: `tests/bench/baseline`.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{jwt, sockd::INTERNAL_SECRET};

/// The running server, with the secrets of the tests' servers; killed when dropped.
pub struct Node {
    child: Child,
    pub address: SocketAddr,
}

impl Node {
    /// Starts it with more of an environment, and waits until it listens.
    pub fn start(environment: &[(&str, String)]) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/baseline");
        assert!(
            directory.join("node_modules").exists(),
            "tests/bench/baseline/node_modules is missing: run tests/run, which installs it"
        );
        let mut child = Command::new("node")
            .arg("server.mjs")
            .current_dir(directory)
            .env("NODE_ENV", "production")
            .env("PORT", "0")
            .env("JWT_SECRET", jwt::SECRET)
            .env("INTERNAL_SECRET", INTERNAL_SECRET)
            .env_remove("REDIS_PORT")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("node does not start ({error}): run tests/run, which says what to do")
            });
        let stderr = child.stderr.take().expect("stderr is piped");
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let mut said = Vec::new();
        let address = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("the server in Node ended: {}", said.join("\n")));
            let address = line.strip_prefix("listening address=");
            if let Some(address) = address.and_then(|address| address.trim().parse().ok()) {
                break address;
            }
            said.push(line);
        };
        // Nobody reads on, and a full pipe must not hold the server up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
