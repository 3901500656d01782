//! Stock Socket.IO clients in Node, Python and Chromium, driven by line.
//!
//! `tests/clients/README.md` lists the commands and the reports.

use std::{
    collections::{HashMap, VecDeque},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{PATIENCE, within};

/// A process that holds any number of stock clients, each under a name of the test's choice.
pub struct Driver {
    child: Child,
    commands: Option<ChildStdin>,
    lines: UnboundedReceiver<Value>,
    /// Reports of clients that no test has asked for yet.
    ready: HashMap<String, VecDeque<Value>>,
    /// What the driver said when it was ready.
    pub greeting: Value,
}

impl Driver {
    /// `socket.io-client` 4, 3 and 2.
    pub async fn node() -> Self {
        Self::start("node", "client.mjs", "node_modules").await
    }

    /// python-socketio.
    pub async fn python() -> Self {
        Self::start(".venv/bin/python", "client.py", ".venv").await
    }

    /// `socket.io-client` 4 on pages, and the dev page, in Chromium.
    pub async fn browser() -> Self {
        Self::start("node", "browser.mjs", "node_modules").await
    }

    async fn start(program: &str, script: &str, packages: &str) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        assert!(
            directory.join(packages).exists(),
            "tests/clients/{packages} is missing: run tests/run, which installs it"
        );
        let own = directory.join(program);
        let mut child = Command::new(if own.exists() { own } else { program.into() })
            .arg(script)
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program} does not start ({error}): run tests/run, which says what to do")
            });
        let stdout = child.stdout.take().expect("stdout is piped");
        let (tell, lines) = unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let report = serde_json::from_str(&line).expect("a report is JSON");
                if tell.send(report).is_err() {
                    break;
                }
            }
        });
        let mut driver = Self {
            commands: child.stdin.take(),
            child,
            lines,
            ready: HashMap::new(),
            greeting: Value::Null,
        };
        // Chromium is slow to start when other programs start at the same time.
        driver.greeting = within(3 * PATIENCE, "the driver's start", driver.line()).await;
        assert_eq!(driver.greeting["on"], "ready", "{}", driver.greeting);
        driver
    }

    /// Opens a client's connection with the options of the stock client.
    pub fn connect(&mut self, id: &str, version: u8, url: &str, options: &Value) {
        self.tell(&json!({ "do": "connect", "id": id, "version": version, "url": url, "options": options }));
    }

    /// Gives a command to a client.
    pub fn order(&mut self, id: &str, command: &str, mut more: Value) {
        more["do"] = command.into();
        more["id"] = id.into();
        self.tell(&more);
    }

    pub fn tell(&mut self, command: &Value) {
        let commands = self.commands.as_mut().expect("the driver listens");
        writeln!(commands, "{command}").expect("the driver reads");
    }

    /// The arguments of a client's next event, skipping reports of its connect and upgrade.
    pub async fn event(&mut self, id: &str) -> Value {
        loop {
            let report = self.next(id).await;
            if report["on"] == "event" {
                let arguments = report["args"].as_str().expect("JSON");
                return serde_json::from_str(arguments).expect("JSON");
            }
            assert!(
                report["on"] == "upgrade" || report["on"] == "connect",
                "{id}: {report}"
            );
        }
    }

    /// The next report of a client, whatever others report meanwhile.
    pub async fn next(&mut self, id: &str) -> Value {
        loop {
            if let Some(report) = self.ready.get_mut(id).and_then(VecDeque::pop_front) {
                return report;
            }
            let mut report = within(PATIENCE, &format!("a report of {id}"), self.line()).await;
            let whose = report["id"].take();
            let whose = whose.as_str().expect("a report names its client");
            report.as_object_mut().expect("an object").remove("id");
            let ready = self.ready.entry(whose.to_owned()).or_default();
            ready.push_back(report);
        }
    }

    /// The next that a client reports, but for what it says on its way back any number of times:
    /// attempts, their failures, and that one has opened a connection.
    pub async fn back(&mut self, id: &str) -> Value {
        loop {
            let report = self.next(id).await;
            let attempt = report["on"] == "reconnect_attempt"
                || report["on"] == "reconnect"
                || report["on"] == "connect_error" && report["again"] != false;
            if !attempt {
                return report;
            }
        }
    }

    /// Reports of a client that no test has asked for, as far as they have been read.
    pub fn unread(&self, id: &str) -> Vec<Value> {
        let unread = self.ready.get(id);
        unread.map_or(Vec::new(), |reports| reports.iter().cloned().collect())
    }

    async fn line(&mut self) -> Value {
        match self.lines.recv().await {
            Some(report) if report["on"] == "driver_error" => panic!("{report}"),
            Some(report) => report,
            None => panic!(
                "the driver ended; what it wrote is above; if a package is missing: run tests/run"
            ),
        }
    }
}

impl Drop for Driver {
    /// Lets it end by itself first, so that Chromium goes with it.
    fn drop(&mut self) {
        drop(self.commands.take());
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
