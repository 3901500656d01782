//! From the values that hold to what the process and the commands use.

use std::net::IpAddr;

use super::{
    Auth, Config, Cors, Internal, Limits, Log, Metrics, Redis, Server, Sessions, SocketIo, advice,
    problem::Problems,
    settings::Settings,
    table::{IdKind, chosen},
};
use crate::{
    id::{IdFormat, IdFormats},
    secret::Secret,
};

/// Makes a section of `Config` whose fields are all settings as they are; a missing one is an error.
macro_rules! section {
    ($Section:ident { $($name:ident),* $(,)? } of $chosen:expr) => {{
        let chosen::$Section { $($name),* } = $chosen;
        $Section { $($name: $name.value.clone()),* }
    }};
}

/// A configuration that can be served, and what is odd about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// What works, but probably not as intended; a sentence each.
    pub warnings: Vec<String>,
}

/// How the commands reach the server of this configuration.
#[derive(Debug, Clone)]
pub struct Client {
    /// SOCKD_URL, or else where the server listens, such as `http://127.0.0.1:3000`; one that
    /// listens everywhere is called on the loopback.
    pub url: String,
    /// The first secret of the internal routes, if it is configured here.
    pub secret: Option<Secret>,
}

/// Where sessions are kept, for the commands that read them.
#[derive(Debug, Clone)]
pub struct SessionStorage {
    /// `None` if they are in the memory of the server.
    pub redis: Option<Redis>,
    pub sessions: Sessions,
    pub room_prefix: String,
    pub ids: IdFormats,
}

impl Settings {
    /// Everything that `sockd serve` needs.
    ///
    /// # Errors
    /// All that is wrong, in every source.
    pub fn resolve(&self) -> Result<Loaded, Problems> {
        let mut problems = self.problems.clone();
        let chosen::Events { supported } = &self.chosen.events;
        let chosen::Rooms { prefix } = &self.chosen.rooms;
        let config = Config {
            server: section!(Server {
                host, port, backlog, header_timeout, keep_alive, body_timeout, max_header_size,
                tcp_keepalive, tcp_user_timeout, drain_window, shutdown_timeout,
            } of &self.chosen.server),
            socketio: section!(SocketIo {
                ping_interval, ping_timeout, connect_timeout, upgrade_timeout, max_payload,
            } of &self.chosen.socketio),
            cors: self.cors(),
            auth: self.auth_with(&mut problems),
            ids: self.id_formats(),
            internal: self.internal(&mut problems),
            metrics: self.metrics(&mut problems),
            events: supported.value.clone(),
            sessions: self.sessions_section(),
            room_prefix: prefix.value.clone(),
            redis: self.redis(&mut problems),
            limits: section!(Limits {
                outbound_buffer, write_stall, inbound_burst, inbound_rate, inbound_packets,
                handshake_attempts, sockets_per_user, connections, unjoined_connections,
                handshakes, handshake_rate,
            } of &self.chosen.limits),
            log: section!(Log { level, format } of &self.chosen.log),
        };
        let mut warnings = self.notes.clone();
        warnings.extend(advice::warnings(&config));
        problems.or(Loaded { config, warnings })
    }

    /// How tokens are verified and signed, for `token mint` and `token check`.
    ///
    /// # Errors
    /// A missing `auth.secret`, and mistakes in any source.
    pub fn auth(&self) -> Result<Auth, Problems> {
        let mut problems = self.problems.clone();
        let auth = self.auth_with(&mut problems);
        problems.or(auth)
    }

    /// What identifiers look like, for the commands that take them.
    ///
    /// # Errors
    /// Mistakes in any source.
    pub fn ids(&self) -> Result<IdFormats, Problems> {
        self.problems.clone().or(self.id_formats())
    }

    /// How to call the server of this configuration, for `emit` and `force-logout`.
    ///
    /// # Errors
    /// An `internal.secret_file` that cannot be read, and mistakes in any source.
    pub fn client(&self) -> Result<Client, Problems> {
        let mut problems = self.problems.clone();
        let chosen::Internal {
            secret,
            secret_file,
            ..
        } = &self.chosen.internal;
        let secret = self.secret(secret, secret_file, &mut problems);
        let url = self.instance.clone().unwrap_or_else(|| self.listening());
        problems.or(Client { url, secret })
    }

    /// Where sessions are kept, for `sessions ls`.
    ///
    /// # Errors
    /// Mistakes in any source, or files for Redis that cannot be read.
    pub fn sessions(&self) -> Result<SessionStorage, Problems> {
        let mut problems = self.problems.clone();
        let storage = SessionStorage {
            redis: self.redis(&mut problems),
            sessions: self.sessions_section(),
            room_prefix: self.chosen.rooms.prefix.value.clone(),
            ids: self.id_formats(),
        };
        problems.or(storage)
    }

    fn listening(&self) -> String {
        let chosen::Server { host, port, .. } = &self.chosen.server;
        let host = match host.value.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => host.value.clone(),
        };
        format!("http://{host}:{}", port.value)
    }

    fn cors(&self) -> Cors {
        let chosen::Cors { origin } = &self.chosen.cors;
        match origin.value.as_slice() {
            [any] if any == "*" => Cors::Any,
            [one] => Cors::One(one.clone()),
            list => Cors::List(list.to_vec()),
        }
    }

    fn auth_with(&self, problems: &mut Problems) -> Auth {
        let chosen::Auth {
            secret,
            secret_file,
            previous_secrets,
            previous_secret_files,
            algorithms,
            user_claim,
            session_claim,
            issuer,
            audience,
            on_expiry,
        } = &self.chosen.auth;
        Auth {
            secrets: self.secrets(
                (secret, secret_file),
                (previous_secrets, previous_secret_files),
                problems,
            ),
            algorithms: algorithms.value.clone(),
            user_claim: user_claim.value.clone(),
            session_claim: session_claim.value.clone(),
            issuer: issuer.value.clone(),
            audience: audience.value.clone(),
            on_expiry: on_expiry.value,
        }
    }

    pub(super) fn id_formats(&self) -> IdFormats {
        let chosen::Ids {
            user,
            session,
            any_max_length,
            any_charset,
        } = &self.chosen.ids;
        let format = |kind| match kind {
            IdKind::ObjectId => IdFormat::ObjectId,
            IdKind::Uuid => IdFormat::Uuid,
            IdKind::Integer => IdFormat::Integer,
            IdKind::Any => IdFormat::Any {
                max_length: any_max_length.value,
                charset: any_charset.value.clone(),
            },
        };
        IdFormats {
            user: format(user.value),
            session: format(session.value),
        }
    }

    fn internal(&self, problems: &mut Problems) -> Internal {
        let chosen::Internal {
            secret,
            secret_file,
            previous_secrets,
            previous_secret_files,
            max_body,
            concurrency,
        } = &self.chosen.internal;
        Internal {
            secrets: self.secrets(
                (secret, secret_file),
                (previous_secrets, previous_secret_files),
                problems,
            ),
            max_body: max_body.value,
            concurrency: concurrency.value,
        }
    }

    fn metrics(&self, problems: &mut Problems) -> Metrics {
        let chosen::Metrics {
            secret,
            secret_file,
            public,
        } = &self.chosen.metrics;
        Metrics {
            secret: self.secret(secret, secret_file, problems),
            public: public.value,
        }
    }

    fn sessions_section(&self) -> Sessions {
        section!(Sessions { key_prefix, ttl, sweep_interval } of &self.chosen.sessions)
    }
}
