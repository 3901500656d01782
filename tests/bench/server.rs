//! The processes that are measured, and what the system says they cost.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tokio::time::sleep;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, pem::PemObject},
    },
};

/// What `/proc/PID/stat` counts CPU time in; Linux shows 100 a second on every architecture.
const TICK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(30);
const JWT_SECRET: &str = "the-benchmarks-jwt-secret-of-32-bytes-and-more";

/// A child that is killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A redis-server of the benchmark's own.
pub(crate) struct Redis {
    _process: Process,
    port: u16,
}

impl Redis {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server cannot be started; apt-get install redis-server")?;
        let redis = Self {
            _process: Process(child),
            port,
        };
        let deadline = Instant::now() + PATIENCE;
        while redis.connection().await.is_err() {
            if Instant::now() > deadline {
                bail!("redis-server does not answer on port {port}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(redis)
    }

    async fn connection(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        client.get_multiplexed_async_connection().await
    }
}

/// A push gateway that takes JWTs and internal calls.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
    /// Where internal routes are, which may be the same.
    pub(crate) internal: SocketAddr,
    /// What clients connect with, if they have to speak TLS.
    pub(crate) tls: Option<TlsConnector>,
    /// Whether it ends the connections of a user who is logged out; the framework cannot.
    pub(crate) ends_connections: bool,
}

/// A client's login.
#[derive(Clone, serde::Deserialize)]
pub(crate) struct Login {
    pub(crate) user_id: String,
    pub(crate) token: String,
}

impl Server {
    pub(crate) const INTERNAL_SECRET: &str = "the-benchmarks-internal-secret-of-32-bytes";

    /// The argument with which this program is the framework's server.
    pub(crate) const FRAMEWORK: &str = "serve-framework";

    /// The built `sockd serve`, with sessions in memory.
    pub(crate) async fn sockd() -> anyhow::Result<Self> {
        Self::start(Command::new(env!("CARGO_BIN_EXE_sockd")).arg("serve")).await
    }

    /// With sessions in Redis.
    pub(crate) async fn sockd_with_redis(redis: &Redis) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sockd"));
        command
            .arg("serve")
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", redis.port.to_string());
        Self::start(&mut command).await
    }

    /// With TLS for clients, and sessions in memory.
    pub(crate) async fn sockd_with_tls() -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sockd"));
        command
            .arg("serve")
            .env("SOCKD_SERVER__TLS_CERT_FILE", folder.join("server.pem"))
            .env("SOCKD_SERVER__TLS_KEY_FILE", folder.join("server.key.pem"))
            .env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0");
        let server = Self::start(&mut command).await?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.join("ca.pem"))?)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = Some(TlsConnector::from(Arc::new(config)));
        Ok(Self { tls, ..server })
    }

    /// The same on socketioxide; see `framework.rs`.
    pub(crate) async fn framework() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let server = Self::start(command.arg(Self::FRAMEWORK)).await?;
        Ok(Self {
            ends_connections: false,
            ..server
        })
    }

    /// The same in Node; see `baseline/server.mjs`.
    pub(crate) async fn node() -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/baseline");
        if !folder.join("node_modules").exists() {
            bail!(
                "the server in Node lacks its packages; run npm ci --prefix tests/bench/baseline"
            );
        }
        let mut command = Command::new("node");
        command
            .arg(folder.join("server.mjs"))
            .env("NODE_ENV", "production");
        Self::start(&mut command).await
    }

    async fn start(command: &mut Command) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir();
        let mut child = command
            .env("PORT", "0")
            .env("JWT_SECRET", JWT_SECRET)
            .env("INTERNAL_SECRET", Self::INTERNAL_SECRET)
            .current_dir(folder)
            .stderr(Stdio::piped())
            .spawn()
            .context("a server cannot be started; Node.js 20 is needed for one of them")?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let process = Process(child);
        let mut lines = BufReader::new(stderr).lines();
        let (port, internal) = loop {
            let line = lines
                .next()
                .context("the server ended instead of listening")??;
            if let Some((_, rest)) = line.split_once("listening address=") {
                let address = rest.split(' ').next().unwrap_or_default();
                let port = address.parse::<SocketAddr>()?.port();
                let internal = rest.split_once(" internal=").map(|(_, rest)| rest);
                let internal = internal.and_then(|rest| rest.split(' ').next());
                let internal = internal.map(str::parse::<SocketAddr>).transpose()?;
                break (port, internal.map_or(port, |internal| internal.port()));
            }
        };
        // Nobody reads on, and a full pipe must not hold the server up.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            process,
            address: ([127, 0, 0, 1], port).into(),
            internal: ([127, 0, 0, 1], internal).into(),
            tls: None,
            ends_connections: true,
        })
    }

    /// Logins of users that nobody else has.
    pub(crate) fn logins(count: usize) -> anyhow::Result<Vec<Login>> {
        let minted = Command::new(env!("CARGO_BIN_EXE_sockd"))
            .args(["token", "mint", "--count", &count.to_string()])
            .env("JWT_SECRET", JWT_SECRET)
            .current_dir(std::env::temp_dir())
            .output()?;
        let lines = std::str::from_utf8(&minted.stdout)?.lines();
        let logins = lines.map(|line| Ok(serde_json::from_str(line)?));
        let logins: Vec<Login> = logins.collect::<anyhow::Result<_>>()?;
        ensure!(logins.len() == count, "not all tokens were made");
        Ok(logins)
    }

    /// The resident set, in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next());
        Ok(size.context("no resident size in /proc")?.parse()?)
    }

    /// CPU time used so far, by the process and for it in the kernel.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.0.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("no name in /proc")?;
        // utime and stime are fields 14 and 15 (proc(5)); the name is the second.
        let mut ticks = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u32>);
        let mut next = || ticks.next().context("no times in /proc");
        Ok(TICK * (next()?? + next()??))
    }

    /// Waits until the server has been almost idle for a second.
    pub(crate) async fn is_idle(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.cpu()?;
            sleep(Duration::from_secs(1)).await;
            if self.cpu()? - before <= 2 * TICK {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the server does not come to rest");
            }
        }
    }
}
