//! A master with a replica, and three Sentinels that watch them.

use std::{fs, time::Duration};

use redis::{Connection, Value};
use tempfile::TempDir;

use super::{
    PATIENCE, eventually,
    process::{Process, connect_redis, free_port, redis_at, redis_tls, trusting_redis},
    sockd::{Builder, Sockd},
};

/// The name under which the Sentinels know the master.
pub const MASTER: &str = "mymaster";
/// Some silence of the master after which a Sentinel takes it for dead.
const DOWN_AFTER: Duration = Duration::from_millis(1_000);

/// The servers; killed when dropped.
pub struct Sentinels {
    pub servers: Vec<Server>,
    pub sentinels: Vec<Server>,
    /// Whether they speak TLS with each other, and servers of ours with them.
    is_tls: bool,
    _directory: TempDir,
}

pub struct Server {
    process: Process,
    pub port: u16,
    tls_port: u16,
    program: &'static str,
    arguments: Vec<String>,
}

impl Server {
    /// `arguments` takes the port, and another one for TLS.
    async fn start(program: &'static str, arguments: impl Fn(u16, u16) -> Vec<String>) -> Self {
        // Another process may take the port between our look and the program's bind.
        for _ in 0..10 {
            let (port, tls_port) = (free_port(), free_port());
            let arguments = arguments(port, tls_port);
            let mut process = spawn(program, &arguments);
            if process.serves_redis(port).await {
                return Self {
                    process,
                    port,
                    tls_port,
                    program,
                    arguments,
                };
            }
        }
        panic!("{program} did not start ten times over");
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with what it was started with, and no data.
    pub async fn restart(&mut self) {
        self.process = spawn(self.program, &self.arguments);
        let is_back = self.process.serves_redis(self.port).await;
        assert!(is_back, "{} did not come back", self.program);
    }

    pub fn try_connection(&self) -> Option<Connection> {
        redis_at(self.port)
    }

    pub fn connection(&self) -> Connection {
        connect_redis(self.port)
    }

    /// `master` or `slave`, if it responds.
    pub fn role(&self) -> Option<String> {
        let role: Vec<Value> = redis::cmd("ROLE").query(&mut self.try_connection()?).ok()?;
        redis::from_redis_value_ref(role.first()?).ok()
    }

    /// Makes it a replica, or with `NO` and `ONE` a master.
    pub fn replicaof(&self, host: &str, port: &str) {
        let mut command = redis::cmd("REPLICAOF");
        let done = command.arg(host).arg(port).exec(&mut self.connection());
        done.expect("REPLICAOF works");
    }
}

impl Sentinels {
    /// Starts them and waits until they are ready to replace the master.
    pub async fn start() -> Self {
        Self::start_as(false).await
    }

    /// The same, all over TLS.
    pub async fn with_tls() -> Self {
        Self::start_as(true).await
    }

    async fn start_as(is_tls: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let redis = |port: u16, tls_port: u16| -> Vec<String> {
            let port = port.to_string();
            let dir = directory.path().to_str().expect("UTF-8");
            let arguments = [
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                dir,
                "--repl-diskless-sync-delay",
                "0",
                "--dbfilename",
                &format!("{port}.rdb"),
            ];
            let mut arguments = arguments.map(str::to_owned).to_vec();
            if is_tls {
                arguments.extend(redis_tls(tls_port));
            }
            arguments
        };
        // Where others of its kind reach it.
        let port_of = |server: &Server| if is_tls { server.tls_port } else { server.port };
        let servers = {
            let master = Server::start("redis-server", redis).await;
            let replicaof = ["--replicaof", "127.0.0.1", &port_of(&master).to_string()];
            let replicaof = replicaof.map(str::to_owned).to_vec();
            let replica = |port, tls_port| [redis(port, tls_port), replicaof.clone()].concat();
            let replica = Server::start("redis-server", replica).await;
            vec![master, replica]
        };
        let master = port_of(&servers[0]);
        let sentinel = |port: u16, tls_port: u16| {
            let file = directory.path().join(format!("sentinel-{port}.conf"));
            let down_after = DOWN_AFTER.as_millis();
            let text = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds {MASTER} {down_after}\n\
                 sentinel failover-timeout {MASTER} 6000\n"
            );
            fs::write(&file, text).expect("a new file");
            let mut arguments = vec![file.to_str().expect("UTF-8").to_owned()];
            if is_tls {
                arguments.extend(redis_tls(tls_port));
            }
            arguments
        };
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(Server::start("redis-sentinel", sentinel).await);
        }
        let sentinels = Self {
            servers,
            sentinels,
            is_tls,
            _directory: directory,
        };
        sentinels.are_able().await;
        sentinels
    }

    /// `a:1,b:2`, as the configuration takes it.
    pub fn addresses(&self) -> String {
        let addresses = self.sentinels.iter().map(|s| match self.is_tls {
            true => format!("rediss://127.0.0.1:{}", s.tls_port),
            false => format!("127.0.0.1:{}", s.port),
        });
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Makes a server use them.
    pub fn configure(&self, builder: Builder) -> Builder {
        let builder = match self.is_tls {
            true => trusting_redis(builder),
            false => builder,
        };
        builder
            .env("SOCKD_REDIS__SENTINELS", self.addresses())
            .env("SOCKD_REDIS__SENTINEL_MASTER", MASTER)
    }

    /// A server that has found the master already.
    pub async fn sockd(&self) -> Sockd {
        let sockd = self.configure(Sockd::builder()).start().await;
        sockd.is_ready(PATIENCE).await;
        sockd
    }

    /// The place in `servers` of the one that says that it is the master.
    pub fn master(&self) -> Option<usize> {
        let is_master = |server: &Server| server.role().as_deref() == Some("master");
        self.servers.iter().position(is_master)
    }

    /// Waits until all know each other and a replica that is well.
    async fn are_able(&self) {
        eventually(2 * PATIENCE, "the Sentinels' readiness", || async {
            self.sentinels.iter().all(|sentinel| {
                let connection = &mut sentinel.connection();
                let mut ask = |what: &str| -> Vec<std::collections::HashMap<String, String>> {
                    let mut command = redis::cmd("SENTINEL");
                    let asked = command.arg(what).arg(MASTER).query(connection);
                    asked.unwrap_or_default()
                };
                let is_well = |server: &std::collections::HashMap<String, String>| {
                    server["flags"] == "slave"
                        && server
                            .get("master-link-status")
                            .is_some_and(|link| link == "ok")
                };
                ask("SENTINELS").len() == 2 && ask("REPLICAS").iter().any(is_well)
            })
        })
        .await;
    }
}

fn spawn(program: &str, arguments: &[String]) -> Process {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Process::start(program, &arguments)
}
