//! The commands in README.md, CONTRIBUTING.md and `docs/`: every block of them is run, as it stands
//! there, by a shell. Programs that would change this machine, or run forever, are replaced by
//! `commands/stand-in`.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

use super::{documentation::documents, examples::blocks};
use crate::support::{
    PATIENCE, eventually, http, jwt,
    process::free_port,
    sockd::{INTERNAL_SECRET, Sockd},
    within,
};

const STAND_IN: &str = "tests/it/house/commands/stand-in";
const PLAYED: [&str; 9] = [
    "apt",
    "cargo",
    "curl",
    "scp",
    "sockd",
    "ssh",
    "sudo",
    "systemctl",
    "useradd",
];
/// The user in the documents' examples, and their session.
const USER: &str = "64b7f0c2a1d2e3f405162738";
const SESSION: &str = "3f2b8c1e-5a4d-4e6f-8a9b-0c1d2e3f4a5b";

#[tokio::test]
async fn every_command_in_the_documents_runs() {
    let mut blocks = 0;
    for (path, text) in documents() {
        if path.ends_with("production.md") {
            continue;
        }
        let server = Sockd::start().await;
        server.force_logout(USER, SESSION).await;
        let machines = Machines::new(&[("127.0.0.1:3000", &server.address().to_string())])
            .env("PORT", "0")
            .env("SOCKD_URL", &server.url())
            .env("JWT_SECRET", jwt::SECRET)
            .env("INTERNAL_SECRET", INTERNAL_SECRET);
        let socket = machines.root("this").join("run/sockd/internal.sock");
        let apart = Sockd::builder().env(
            "SOCKD_INTERNAL__LISTEN",
            format!("unix:{}", socket.display()),
        );
        let _apart = apart.start().await;
        for block in commands(&text) {
            machines.run("this", block).await;
            blocks += 1;
        }
    }
    assert!(blocks > 20, "{blocks}");
}

/// The page from its beginning to its end, on one machine: the addresses are those of the loopback.
#[tokio::test]
async fn a_newcomer_sets_up_a_production_pair() {
    let [clients, store, tls, plain, prometheus] = std::array::from_fn(|_| free_port());
    let machines = Machines::new(&[
        ("10.0.0.1:3000", &format!("127.0.0.1:{clients}")),
        ("10.0.0.2:3000", &format!("127.0.0.2:{clients}")),
        ("10.0.0.3:6379", &format!("127.0.0.3:{store}")),
        ("10.0.0.", "127.0.0."),
        ("127.0.0.1:9090", &format!("127.0.0.4:{prometheus}")),
        (
            "https://push.example.com",
            &format!("https://localhost:{tls}"),
        ),
        ("bind :443", &format!("bind 127.0.0.1:{tls}")),
        ("bind :80", &format!("bind 127.0.0.1:{plain}")),
    ])
    .env("PORT", &clients.to_string())
    .env("REDIS_PORT", &store.to_string())
    .env("PROMETHEUS", &format!("127.0.0.4:{prometheus}"))
    .env(
        "SSL_CERT_FILE",
        repository()
            .join("tests/fixtures/tls/ca.pem")
            .to_str()
            .expect("UTF-8"),
    );
    let certificate =
        ["server.pem", "server.key.pem"].map(|name| text(&format!("tests/fixtures/tls/{name}")));
    fs::write(
        machines.checkout().join("push.example.com.pem"),
        certificate.concat(),
    )
    .expect("a file");
    let front = machines.root("front").display().to_string();
    let proxy = machines.replaced(&text("deploy/haproxy/sockd.cfg"));
    let proxy = proxy.replace("/etc/haproxy/push", &format!("{front}/etc/haproxy/push"));
    fs::write(machines.checkout().join("deploy/haproxy/sockd.cfg"), proxy).expect("a file");

    let page = text("docs/production.md");
    for (number, section) in page.split("\n## ").skip(1).enumerate() {
        let places: &[&str] = match number + 1 {
            1 => &["builder"],
            2 => &["store"],
            3 => &["a", "b"],
            5 => &["a"],
            _ => &["front"],
        };
        for block in commands(section) {
            for place in places {
                let block = match *place {
                    "b" => block.replace("10.0.0.1", "10.0.0.2"),
                    _ => block.to_owned(),
                };
                machines.run(place, &block).await;
            }
        }
    }

    // The last figure that the page promises: Prometheus has seen both nodes ready.
    let query = format!("http://127.0.0.4:{prometheus}/api/v1/query?query=sum(sockd_ready)");
    eventually(PATIENCE, "two ready nodes in Prometheus", async || {
        let answer = http::get(&query).await.text().await.expect("a body");
        answer.contains("\"2\"]")
    })
    .await;

    // What is for the inside stays there, and scrapers get in by their secret.
    let secret = fs::read_to_string(machines.checkout().join("secrets/metrics")).expect("a secret");
    for node in ["127.0.0.1", "127.0.0.2"] {
        let metrics = http::client().get(format!("http://{node}:{clients}/metrics"));
        let status = async |request: reqwest::RequestBuilder| {
            request.send().await.expect("an answer").status()
        };
        assert_eq!(status(metrics.try_clone().expect("no body")).await, 401);
        assert_eq!(status(metrics.bearer_auth(secret.trim())).await, 200);
    }
}

/// Commands in the text exist too, with the options that they are named with.
#[test]
fn every_command_in_a_sentence_exists() {
    let mut checked = BTreeSet::new();
    for (path, text) in documents() {
        let without_blocks: String = text.split("```").step_by(2).collect();
        for code in without_blocks.split('`').skip(1).step_by(2) {
            let Some(arguments) = code.strip_prefix("sockd ") else {
                continue;
            };
            let is_name = |word: &&str| {
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
            };
            let names: Vec<_> = arguments.split_whitespace().take_while(is_name).collect();
            let help = std::process::Command::new(env!("CARGO_BIN_EXE_sockd"))
                .args(&names)
                .arg("--help")
                .output()
                .expect("the built binary starts");
            assert!(help.status.success(), "{path:?}: {code}");
            let help = String::from_utf8(help.stdout).expect("UTF-8");
            let words = arguments.split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
            for option in words.filter(|word| word.starts_with("--")) {
                assert!(help.contains(option), "{path:?}: {code}");
            }
            checked.insert(names.join(" "));
        }
    }
    assert!(checked.len() > 10, "{checked:?}");
}

/// Machines that share a clone and the programs on their PATH; what they started ends with them.
struct Machines {
    directory: TempDir,
    environment: Vec<(String, String)>,
    replacements: Vec<(String, String)>,
}

impl Machines {
    fn new(replacements: &[(&str, &str)]) -> Self {
        let owned = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
        let machines = Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
            environment: Vec::new(),
            replacements: replacements.iter().map(owned).collect(),
        };
        let stand_in = repository().join(STAND_IN);
        let programs = machines.directory.path().join("bin");
        fs::create_dir(&programs).expect("a folder");
        for program in PLAYED {
            symlink(&stand_in, programs.join(program)).expect("a link");
        }
        let clone = machines.checkout();
        for folder in ["haproxy", "prometheus", "systemd"] {
            let (from, to) = (
                repository().join("deploy").join(folder),
                clone.join("deploy").join(folder),
            );
            fs::create_dir_all(&to).expect("a folder");
            for file in fs::read_dir(from).expect("a folder") {
                let file = file.expect("a file");
                fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
            }
        }
        for script in ["deploy/debian/build", "tests/run", ".ci/run"] {
            let script = clone.join(script);
            fs::create_dir_all(script.parent().expect("a folder")).expect("a folder");
            symlink(&stand_in, script).expect("a link");
        }
        machines
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn checkout(&self) -> PathBuf {
        self.directory.path().join("clone")
    }

    /// What is `/` on this machine.
    fn root(&self, machine: &str) -> PathBuf {
        let root = self.directory.path().join(machine).join("root");
        for folder in [
            "pids",
            "run/sockd",
            "usr/bin",
            "usr/local/bin",
            "etc/bash_completion.d",
            "etc/sockd",
            "etc/systemd/system",
        ] {
            fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        root
    }

    fn replaced(&self, text: &str) -> String {
        let replacements = self.replacements.iter();
        replacements.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    async fn run(&self, machine: &str, commands: &str) {
        let programs = self.directory.path().join("bin").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", &self.replaced(commands)])
            .env_clear()
            .env("PATH", format!("{programs}:{path}:/usr/sbin:/sbin"))
            .env("ROOT", self.root(machine))
            .env("SOCKD", env!("CARGO_BIN_EXE_sockd"))
            .env("TESTS", std::env::current_exe().expect("this program"))
            .env("REPOSITORY", repository())
            .env("USER_ID", USER)
            .env("TMPDIR", self.directory.path())
            .envs(self.environment.iter().cloned())
            .current_dir(self.checkout())
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        let output = within(3 * PATIENCE, commands, shell.output()).await;
        let output = output.expect("bash starts");
        assert!(
            output.status.success(),
            "{commands}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        let machines = fs::read_dir(self.directory.path()).into_iter().flatten();
        for machine in machines.flatten() {
            let started = fs::read_dir(machine.path().join("root/pids"));
            for file in started.into_iter().flatten().flatten() {
                let pid = fs::read_to_string(file.path()).unwrap_or_default();
                let kill = std::process::Command::new("kill")
                    .args(["-KILL", pid.trim()])
                    .status();
                kill.ok();
            }
        }
    }
}

/// The blocks of shell commands in a document.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    let is_command = |line: &str| {
        let word = line.split(' ').next().unwrap_or_default();
        ["sudo", "sockd", "curl", "cargo"].contains(&word)
    };
    for unmarked in blocks(text, "") {
        let has_command = unmarked.lines().any(is_command);
        assert!(!has_command, "not marked as sh:\n{unmarked}");
    }
    blocks(text, "sh")
}

fn text(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
