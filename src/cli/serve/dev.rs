//! `sockd serve --dev`: a server with generated secrets for one run, and the commands to paste next.

use std::{
    collections::BTreeMap,
    env, fmt,
    fs::{self, DirBuilder, File},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use serde_json::Map;

use crate::{
    auth::{
        self,
        mint::{Claims, TokenMinter},
    },
    cli::{failure::Failure, input::random, output},
    config::{Config, Flag, Loaded, Sources, load},
    http::Dev,
    id::{IdFormats, SessionId, UserId},
    server::{Address, Addresses, Server},
    telemetry,
};

/// Long enough for a day's work, short enough for a token that was pasted somewhere.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Files of this run.
const SECRET_FILE: &str = "secret";
const TOKEN_FILE: &str = "token";

pub(super) async fn run(flags: Vec<Flag>) -> Result<(), Failure> {
    let folder = Folder::create()?;
    let (loaded, sources) = configure(flags, &folder)?;
    let config = &loaded.config;
    telemetry::init(&config.log).map_err(Failure::usage)?;
    let user = LoggedIn::generate(config)?;
    folder.write(TOKEN_FILE, &user.token)?;
    let replacement = generate_session(&config.ids)?;
    let page = |addresses: &Addresses| user.page(addresses, &folder);
    let server = Server::bind(loaded.clone(), sources, Some(page)).await?;
    let addresses = server.addresses();
    check_reachable(&addresses.clients)?;
    if let Some(internal) = &addresses.internal {
        check_reachable(internal)?;
    }
    output::note(Welcome {
        url: url(&addresses.clients),
        internal: url(addresses.internal.as_ref().unwrap_or(&addresses.clients)),
        dev: &user.page(addresses, &folder),
        replacement,
        folder: &folder,
    });
    server.run().await;
    Ok(())
}

/// The defaults, the flags, `PORT` and generated secrets, for this machine only. No file is read.
fn configure(flags: Vec<Flag>, folder: &Folder) -> Result<(Loaded, Sources), Failure> {
    let internal_secret = random_hex()?;
    folder.write(SECRET_FILE, &internal_secret)?;
    let flag = |name, key, value| Flag { name, key, value };
    let mut flags = flags;
    if !flags.iter().any(|flag| flag.key == "server.host") {
        // The page shows a token to anyone who opens it, so only this machine may.
        flags.push(flag("--dev", "server.host", "127.0.0.1".to_owned()));
    }
    flags.extend([
        flag("--dev", "auth.secret", random_hex()?),
        flag("--dev", "internal.secret", internal_secret),
    ]);
    let port = env::var_os("PORT").map(|port| ("PORT".to_owned(), port));
    let sources = Sources {
        env: BTreeMap::from_iter(port),
        // It contains only our secrets: no `.env` and no `sockd.toml`.
        directory: folder.path.clone(),
        explicit_file: None,
        system_file: PathBuf::new(),
        flags,
    };
    Ok((load(&sources)?.resolve()?, sources))
}

/// A logged-in user, for the page and for the commands to paste.
#[derive(Clone)]
struct LoggedIn {
    user: UserId,
    session: SessionId,
    token: String,
}

impl LoggedIn {
    fn generate(config: &Config) -> anyhow::Result<Self> {
        let user = config.ids.generate_user(random()?)?;
        let session = generate_session(&config.ids)?;
        let key = config
            .auth
            .secrets
            .first()
            .context("no secret was generated")?;
        let token = TokenMinter::new(&config.auth, key, None)?.mint(&Claims {
            user: &user,
            session: &session,
            issued_at: auth::unix_time(),
            ttl: Some(TOKEN_TTL),
            extra: &Map::new(),
        })?;
        Ok(Self {
            user,
            session,
            token,
        })
    }

    fn page(&self, addresses: &Addresses, folder: &Folder) -> Dev {
        let Self {
            user,
            session,
            token,
        } = self.clone();
        // The page knows better than this process how a browser reaches it.
        let internal = addresses.internal.as_ref();
        let instance = internal.map_or_else(|| "{origin}".to_owned(), |at| quoted(&url(at)));
        let setup = format!(
            "export SOCKD_URL={instance} SOCKD_INTERNAL__SECRET_FILE={}",
            folder.shown(SECRET_FILE)
        );
        Dev {
            user,
            session,
            token,
            program: quoted(&program()),
            setup,
        }
    }
}

fn generate_session(ids: &IdFormats) -> anyhow::Result<SessionId> {
    Ok(ids.generate_session(random()?)?)
}

fn random_hex() -> anyhow::Result<String> {
    let bytes = random()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Only requests for `localhost` and loopback addresses are served, and other addresses get none.
fn check_reachable(address: &Address) -> Result<(), Failure> {
    let Address::Tcp(address) = address else {
        return Ok(());
    };
    let ip = address.ip().to_canonical();
    if ip.is_loopback() || ip.is_unspecified() {
        return Ok(());
    }
    Err(Failure::usage(anyhow!(
        "--dev serves only this machine, but others can reach {ip}; leave out --host, or set it to 127.0.0.1, or to :: in a container"
    )))
}

/// The URL to open on this machine.
fn url(address: &Address) -> String {
    match address {
        Address::Tcp(tcp) if tcp.ip().is_unspecified() => {
            format!("http://127.0.0.1:{}", tcp.port())
        }
        Address::Tcp(tcp) => format!("http://{tcp}"),
        Address::Unix(_) => address.to_string(),
    }
}

/// A temporary directory for this run, removed when dropped.
struct Folder {
    path: PathBuf,
}

impl Folder {
    const ONLY_OWNER: u32 = 0o700;
    const ONLY_OWNER_READS: u32 = 0o600;

    fn create() -> anyhow::Result<Self> {
        let name = format!("sockd-dev-{}", uuid::Uuid::new_v4());
        let path = env::temp_dir().join(name);
        DirBuilder::new()
            .mode(Self::ONLY_OWNER)
            .create(&path)
            .with_context(|| {
                format!(
                    "{} cannot be created; set TMPDIR to a writable directory",
                    path.display()
                )
            })?;
        Ok(Self { path })
    }

    /// The file's path as one shell word.
    fn shown(&self, name: &str) -> String {
        quoted(&self.path.join(name).to_string_lossy())
    }

    fn write(&self, name: &str, secret: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(Self::ONLY_OWNER_READS)
            .open(&path);
        file.and_then(|mut file| file.write_all(secret.as_bytes()))
            .with_context(|| format!("{} cannot be written; free disk space", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).ok();
    }
}

/// The instructions that the terminal shows.
struct Welcome<'a> {
    url: String,
    internal: String,
    dev: &'a Dev,
    replacement: SessionId,
    folder: &'a Folder,
}

impl fmt::Display for Welcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url,
            internal,
            dev,
            replacement,
            folder,
        } = self;
        let Dev {
            user,
            token,
            program,
            ..
        } = dev;
        let target = format!(
            "--url {} --secret-file {}",
            quoted(internal),
            folder.shown(SECRET_FILE)
        );
        let token_file = folder.shown(TOKEN_FILE);
        write!(
            f,
            r#"
sockd is ready: sessions are in memory, and the secrets are for this run only.

Watch it in a browser:

  {url}/

or in a terminal:

  {program} listen --token-file {token_file} --url {url}

or connect from a page or from Node (npm i socket.io-client):

  import {{ io }} from "socket.io-client";
  const socket = io("{url}", {{ auth: {{ token: "{token}" }} }});
  socket.onAny((event, payload) => console.log(event, payload));

then push an event to that user, and end the session, from another terminal:

  {program} emit {user} profile:update '{{"hello":"world"}}' {target}
  {program} force-logout {user} {replacement} {target}
"#
        )
    }
}

/// This program as a shell finds it: by name if it was called by name, else by path.
fn program() -> String {
    let called = env::args_os().next().unwrap_or_default();
    let path = match env::current_exe() {
        Ok(path) if Path::new(&called).components().count() > 1 => path,
        _ => PathBuf::from("sockd"),
    };
    path.to_string_lossy().into_owned()
}

/// The text, quoted as one shell word.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> Address {
        Address::Tcp(address.parse().unwrap())
    }

    #[test]
    fn the_folder_is_private_and_removed_when_dropped() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::create().unwrap();
        folder.write(SECRET_FILE, "s").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path), 0o700);
        assert_eq!(mode(&folder.path.join(SECRET_FILE)), 0o600);
        let path = folder.path.clone();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_stays_one_word_in_a_shell() {
        assert_eq!(quoted("/tmp/a-1/secret"), "/tmp/a-1/secret");
        assert_eq!(quoted("/tmp/it's me"), r"'/tmp/it'\''s me'");
    }

    #[test]
    fn an_address_that_others_can_reach_is_refused() {
        for address in ["127.0.0.1:1", "[::1]:1", "[::]:1", "0.0.0.0:1"] {
            assert!(check_reachable(&tcp(address)).is_ok(), "{address}");
        }
        for address in ["10.0.0.1:1", "[fe80::1]:1", "[::ffff:10.0.0.1]:1"] {
            assert!(check_reachable(&tcp(address)).is_err(), "{address}");
        }
    }

    #[test]
    fn an_unspecified_address_is_shown_as_loopback() {
        assert_eq!(url(&tcp("[::]:3000")), "http://127.0.0.1:3000");
        assert_eq!(url(&tcp("[::1]:80")), "http://[::1]:80");
        assert_eq!(url(&tcp("10.0.0.1:80")), "http://10.0.0.1:80");
        let socket = Address::Unix("/run/s.sock".into());
        assert_eq!(url(&socket), "unix:/run/s.sock");
    }
}
