//! From the effective values to what the process and the commands use.

use std::{fmt::Display, net::IpAddr};

use super::{
    Auth, ClientTls, Config, Cors, Internal, InternalListener, Limits, Log, Metrics, Redis, Server,
    Sessions, SocketIo, UnixSocket,
    advice::{self, secrets},
    listen::host_and_port,
    problem::{Problem, Problems},
    setting::{Given, Key},
    settings::{Row, Settings},
    table::{IdKind, auth, cors, events, ids, internal, metrics, rooms, server},
};
use crate::{
    id::{IdFormat, IdFormats},
    secret::Secret,
    wire::unix_path,
};

/// A valid configuration, and warnings about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// Warnings about what works, but probably not as intended.
    pub warnings: Vec<Problem>,
    /// The values as shown, to compare them.
    pub(super) rows: Vec<Row>,
}

/// How the commands reach the server of this configuration.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// SOCKD_URL, or else where the server has its internal routes, such as `http://127.0.0.1:3000` or
    /// `unix:/run/sockd/internal.sock`; a server on all addresses is called on the loopback address.
    pub url: String,
    /// Whether a header of the PROXY protocol is demanded there. Nobody knows of a URL that is given: a
    /// proxy may be there that sends one.
    pub proxy_protocol: bool,
    /// Where clients connect: the same, unless the internal routes have a listener of their own.
    pub clients: String,
    /// Whether a header of the PROXY protocol is demanded there.
    pub clients_proxy_protocol: bool,
    /// The configured secrets of the internal routes, the newest first. A node that has not reloaded its
    /// configuration still knows only an older one.
    pub secrets: Vec<Secret>,
    /// Its authorities are trusted besides the system's.
    pub tls: ClientTls,
}

/// Where sessions are kept, for the commands that read them.
#[derive(Debug, Clone)]
pub struct SessionStorage {
    /// `None` if they are in the memory of the server.
    pub redis: Option<Redis>,
    pub sessions: Sessions,
    pub room_prefix: String,
}

impl Settings {
    /// Everything that `sockd serve` needs.
    ///
    /// # Errors
    /// All that is wrong, in every source.
    pub fn resolve(&self) -> Result<Loaded, Problems> {
        self.resolved(|resolver| {
            let auth = resolver.auth();
            resolver.require(&internal::secret.key);
            let config = Config {
                server: Server::of(self),
                server_tls: resolver.tls(
                    "server",
                    (&server::tls_cert_file, &server::tls_key_file),
                    None,
                ),
                socketio: SocketIo::of(self),
                cors: self.get(&cors::origin).into(),
                auth,
                ids: self.id_formats(),
                internal: Internal {
                    listen: self.internal_listener(),
                    tls: resolver.tls(
                        "internal",
                        (&internal::tls_cert_file, &internal::tls_key_file),
                        Some(&internal::tls_client_ca_file),
                    ),
                    proxy_protocol: self.get(&internal::proxy_protocol),
                    secrets: resolver.bearers(&internal::secret, &internal::previous_secrets),
                    max_body: self.get(&internal::max_body),
                    concurrency: self.get(&internal::concurrency),
                },
                metrics: Metrics {
                    secret: resolver.bearer(&metrics::secret),
                    public: self.get(&metrics::public),
                },
                events: self.get(&events::supported),
                sessions: Sessions::of(self),
                room_prefix: self.get(&rooms::prefix),
                redis: resolver.redis(),
                limits: Limits::of(self),
                log: Log::of(self),
            };
            let mut warnings = self.notes.clone();
            warnings.extend(self.idle_socket_settings());
            warnings.extend(advice::warnings(&config));
            Loaded {
                config,
                warnings,
                rows: self.rows(),
            }
        })
    }

    /// How tokens are verified and signed, for `token mint` and `token check`.
    ///
    /// # Errors
    /// Neither `auth.secret` nor a key set, and mistakes in any source.
    pub fn auth(&self) -> Result<Auth, Problems> {
        self.resolved(|resolver| resolver.auth())
    }

    /// What identifiers look like, for the commands that take them.
    ///
    /// # Errors
    /// Mistakes in any source.
    pub fn ids(&self) -> Result<IdFormats, Problems> {
        self.resolved(|_| self.id_formats())
    }

    /// How to call the server of this configuration, at this URL if one is given.
    ///
    /// # Errors
    /// A file of a secret that cannot be read, and mistakes in any source.
    pub fn endpoint(&self, url: Option<String>) -> Result<Endpoint, Problems> {
        self.resolved(|resolver| resolver.endpoint(url))
    }

    /// As [`Self::endpoint`], but ignores mistakes in other settings: a running server does not depend on
    /// their current values.
    ///
    /// # Errors
    /// All mistakes, if one of them hides the address or a secret.
    pub fn endpoint_despite_mistakes(&self, url: Option<String>) -> Result<Endpoint, Problems> {
        let places = [&server::host.key, &server::port.key, &internal::listen.key];
        let is_wrong = |key: &Key| self.given(key).is_some_and(Given::is_wrong);
        let is_hidden = url.is_none() && self.instance.is_none();
        if is_hidden && places.into_iter().any(is_wrong) {
            return Err(self.problems.clone());
        }
        let mut resolver = Resolver {
            settings: self,
            problems: Problems::default(),
        };
        let endpoint = resolver.endpoint(url);
        resolver.problems.or(endpoint)
    }

    /// Where sessions are kept, for `sessions ls`.
    ///
    /// # Errors
    /// Mistakes in any source, or files for Redis that cannot be read.
    pub fn sessions(&self) -> Result<SessionStorage, Problems> {
        self.resolved(|resolver| SessionStorage {
            redis: resolver.redis(),
            sessions: Sessions::of(self),
            room_prefix: self.get(&rooms::prefix),
        })
    }

    fn resolved<T>(&self, resolve: impl FnOnce(&mut Resolver<'_>) -> T) -> Result<T, Problems> {
        let mut resolver = Resolver {
            settings: self,
            problems: self.problems.clone(),
        };
        let value = resolve(&mut resolver);
        resolver.problems.or(value)
    }

    fn listening(&self) -> String {
        match self.internal_listener() {
            Some(InternalListener::Tcp { host, port }) => {
                callable(self.is_given(&internal::tls_cert_file.key), &host, port)
            }
            Some(unix) => unix.to_string(),
            None => self.listening_for_clients(),
        }
    }

    fn listening_for_clients(&self) -> String {
        let is_tls = self.is_given(&server::tls_cert_file.key);
        callable(is_tls, &self.get(&server::host), self.get(&server::port))
    }

    /// Where clients connect, and whether a header of the PROXY protocol is demanded there.
    fn clients(&self) -> (String, bool) {
        let instance = self.instance.as_ref();
        let is_shared =
            |url: &&String| self.internal_listener().is_none() && unix_path(url).is_none();
        match instance.filter(is_shared) {
            Some(url) => (url.clone(), false),
            None => (
                self.listening_for_clients(),
                self.get(&server::proxy_protocol),
            ),
        }
    }

    fn internal_listener(&self) -> Option<InternalListener> {
        let mut listener = self.get(&internal::listen)?;
        if let InternalListener::Unix(UnixSocket { path, mode, group }) = &mut listener {
            *path = self.base(&internal::listen.key).join(&path);
            *mode = self.get(&internal::socket_mode);
            *group = self.get(&internal::socket_group);
        }
        Some(listener)
    }

    /// Warns of settings for a unix socket if none is configured.
    fn idle_socket_settings(&self) -> impl Iterator<Item = Problem> {
        let has_socket = matches!(self.get(&internal::listen), Some(InternalListener::Unix(_)));
        let keys = [&internal::socket_mode.key, &internal::socket_group.key];
        let idle = keys
            .into_iter()
            .filter(move |key| !has_socket && self.is_given(key));
        idle.map(|key| {
            let remedy =
                "set internal.listen to one such as \"unix:/run/sockd/internal.sock\", or remove it";
            Problem::new(key.path, "changes nothing without a unix socket", remedy)
        })
    }

    pub(super) fn id_formats(&self) -> IdFormats {
        let format = |kind| match kind {
            IdKind::ObjectId => IdFormat::ObjectId,
            IdKind::Uuid => IdFormat::Uuid,
            IdKind::Integer => IdFormat::Integer,
            IdKind::Any => IdFormat::Any {
                max_length: self.get(&ids::any_max_length),
                charset: self.get(&ids::any_charset),
            },
        };
        IdFormats {
            user: format(self.get(&ids::user)),
            session: format(self.get(&ids::session)),
        }
    }
}

impl Loaded {
    /// Returns the keys whose values differ, in the order of the table. A secret counts under its own
    /// key also where a file holds it.
    pub fn changes(&self, other: &Self) -> Vec<&'static str> {
        let differs = |key: &str| {
            let [own, other] = [self, other].map(|loaded| loaded.secrets(key));
            let is_same = |(own, other): (&Secret, &Secret)| own.matches(other.expose());
            own.len() != other.len() || !own.into_iter().zip(other).all(is_same)
        };
        let rows = self.rows.iter().zip(&other.rows);
        let changed = rows.filter(|(own, other)| own.value != other.value || differs(own.key));
        changed.map(|(row, _)| row.key).collect()
    }

    /// Returns the secrets of a key, which are all shown alike.
    fn secrets(&self, key: &str) -> Vec<&Secret> {
        let is_of_key = |name: &str| name.split(',').next() == Some(key);
        let secrets = secrets(&self.config).filter(|(name, _)| is_of_key(name));
        secrets.map(|(_, secret)| secret).collect()
    }
}

impl From<Vec<String>> for Cors {
    fn from(mut origins: Vec<String>) -> Self {
        match origins.as_slice() {
            [any] if any == "*" => Self::Any,
            [_] => Self::One(origins.remove(0)),
            _ => Self::List(origins),
        }
    }
}

/// Resolves settings, and collects the problems of values that do not fit together.
pub(super) struct Resolver<'s> {
    pub(super) settings: &'s Settings,
    pub(super) problems: Problems,
}

impl Resolver<'_> {
    /// Reports a mistake in the value, if a source gave it.
    pub(super) fn blame(&mut self, key: &Key, found: impl Display, remedy: impl Display) {
        if let Some(given) = self.settings.given(key) {
            self.problems.add(given.place(), found, remedy);
        }
    }

    fn auth(&mut self) -> Auth {
        let settings = self.settings;
        let previous = settings.deciding(&auth::previous_secrets.key);
        if !settings.has_jwks() || previous.is_some() {
            self.require(&auth::secret.key);
        }
        self.check_algorithms();
        Auth {
            secrets: self.secrets(&auth::secret, &auth::previous_secrets),
            jwks: self.jwks(),
            algorithms: settings.algorithms(),
            user_claim: settings.get(&auth::user_claim),
            session_claim: settings.get(&auth::session_claim),
            issuers: settings.get(&auth::issuer).unwrap_or_default(),
            audiences: settings.get(&auth::audience).unwrap_or_default(),
            on_expiry: settings.get(&auth::on_expiry),
        }
    }

    fn endpoint(&mut self, url: Option<String>) -> Endpoint {
        let settings = self.settings;
        let url = url.or_else(|| settings.instance.clone());
        let proxy_protocol = match settings.internal_listener() {
            _ if url.is_some() => false,
            Some(_) => settings.get(&internal::proxy_protocol),
            None => settings.get(&server::proxy_protocol),
        };
        let (clients, clients_proxy_protocol) = settings.clients();
        Endpoint {
            url: url.unwrap_or_else(|| settings.listening()),
            proxy_protocol,
            clients,
            clients_proxy_protocol,
            secrets: self.bearers(&internal::secret, &internal::previous_secrets),
            tls: self.client_tls(
                &internal::command_ca_file,
                (&internal::command_cert_file, &internal::command_key_file),
            ),
        }
    }
}

/// The URL by which commands on this machine call a listener.
fn callable(is_tls: bool, host: &str, port: u16) -> String {
    let is_unspecified = host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    let host = if is_unspecified { "127.0.0.1" } else { host };
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{}", host_and_port(host, port))
}
