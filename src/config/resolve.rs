//! From settings to what the process and the commands use.

use std::net::IpAddr;

use super::{
    Auth, Config, Cors, Internal, Limits, Log, LogFormat, Metrics, OnExpiry, Redis, Server,
    Sessions, SocketIo, advice, problem::Problems, settings::Settings,
};
use crate::{
    id::{Charset, IdFormat, IdFormats, InvalidId, SupportedEvents},
    secret::Secret,
};

/// A configuration that can be served, and what is odd about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// What works, but hardly as meant; a sentence each.
    pub warnings: Vec<String>,
}

/// How the commands reach the server of this configuration.
#[derive(Debug, Clone)]
pub struct Client {
    /// SOCKD_URL, else where the server listens, such as `http://127.0.0.1:3000`; one that listens
    /// everywhere is asked on the loopback.
    pub url: String,
    /// The internal routes' first secret, if there is one here.
    pub secret: Option<Secret>,
}

/// Where sessions are, for the commands that read them.
#[derive(Debug, Clone)]
pub struct SessionStorage {
    /// `None`: in the memory of the server.
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
        let config = Config {
            server: self.server(),
            socketio: self.socketio(),
            cors: self.cors(),
            auth: self.auth_of(&mut problems),
            ids: self.id_formats(),
            internal: Internal {
                secrets: self.secrets("internal", &mut problems),
                max_body: self.size("internal.max_body"),
                concurrency: self.number("internal.concurrency"),
            },
            metrics: Metrics {
                secret: self.secret("metrics.secret", &mut problems),
                public: self.boolean("metrics.public"),
            },
            events: self.events(),
            sessions: self.session_times(),
            room_prefix: self.text("rooms.prefix"),
            redis: self.redis(&mut problems),
            limits: self.limits(),
            log: self.log(),
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
        let auth = self.auth_of(&mut problems);
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
        let secret = self.secret("internal.secret", &mut problems);
        let url = self.instance.clone().unwrap_or_else(|| self.listening());
        problems.or(Client { url, secret })
    }

    fn listening(&self) -> String {
        let host = self.text("server.host");
        let host = match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => host,
        };
        format!("http://{host}:{}", self.number::<u16>("server.port"))
    }

    /// Where sessions are, for `sessions ls`.
    ///
    /// # Errors
    /// Mistakes in any source, or files for Redis that cannot be read.
    pub fn sessions(&self) -> Result<SessionStorage, Problems> {
        let mut problems = self.problems.clone();
        let storage = SessionStorage {
            redis: self.redis(&mut problems),
            sessions: self.session_times(),
            room_prefix: self.text("rooms.prefix"),
            ids: self.id_formats(),
        };
        problems.or(storage)
    }

    fn server(&self) -> Server {
        Server {
            host: self.text("server.host"),
            port: self.number("server.port"),
            backlog: self.number("server.backlog"),
            header_timeout: self.duration("server.header_timeout"),
            keep_alive: self.duration("server.keep_alive"),
            body_timeout: self.duration("server.body_timeout"),
            max_header_size: self.size("server.max_header_size"),
            tcp_keepalive: self.duration("server.tcp_keepalive"),
            tcp_user_timeout: self.duration("server.tcp_user_timeout"),
            drain_window: self.duration("server.drain_window"),
            shutdown_timeout: self.duration("server.shutdown_timeout"),
        }
    }

    fn socketio(&self) -> SocketIo {
        SocketIo {
            ping_interval: self.duration("socketio.ping_interval"),
            ping_timeout: self.duration("socketio.ping_timeout"),
            connect_timeout: self.duration("socketio.connect_timeout"),
            upgrade_timeout: self.duration("socketio.upgrade_timeout"),
            max_payload: self.size("socketio.max_payload"),
        }
    }

    fn cors(&self) -> Cors {
        let mut origins = self.list("cors.origin");
        match origins.as_slice() {
            [any] if any == "*" => Cors::Any,
            [_] => Cors::One(origins.remove(0)),
            _ => Cors::List(origins),
        }
    }

    fn auth_of(&self, problems: &mut Problems) -> Auth {
        Auth {
            secrets: self.secrets("auth", problems),
            algorithms: self.list("auth.algorithms"),
            user_claim: self.text("auth.user_claim"),
            session_claim: self.text("auth.session_claim"),
            issuer: self.optional_text("auth.issuer"),
            audience: self.optional_text("auth.audience"),
            on_expiry: match self.text("auth.on_expiry").as_str() {
                "keep" => OnExpiry::Keep,
                _ => OnExpiry::Disconnect,
            },
        }
    }

    pub(super) fn id_formats(&self) -> IdFormats {
        IdFormats {
            user: self.id_format("ids.user"),
            session: self.id_format("ids.session"),
        }
    }

    fn id_format(&self, key: &str) -> IdFormat {
        match self.text(key).as_str() {
            "objectid" => IdFormat::ObjectId,
            "uuid" => IdFormat::Uuid,
            "integer" => IdFormat::Integer,
            _ => IdFormat::Any {
                max_length: self.number("ids.any_max_length"),
                charset: checked(Charset::try_from(self.text("ids.any_charset").as_str())),
            },
        }
    }

    fn events(&self) -> SupportedEvents {
        let patterns = self.list("events.supported");
        checked(SupportedEvents::new(patterns.iter().map(String::as_str)))
    }

    fn session_times(&self) -> Sessions {
        Sessions {
            key_prefix: self.text("sessions.key_prefix"),
            ttl: self.duration("sessions.ttl"),
            sweep_interval: self.duration("sessions.sweep_interval"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            outbound_buffer: self.size("limits.outbound_buffer"),
            write_stall: self.duration("limits.write_stall"),
            inbound_burst: self.size("limits.inbound_burst"),
            inbound_rate: self.size("limits.inbound_rate"),
            handshake_attempts: self.number("limits.handshake_attempts"),
        }
    }

    fn log(&self) -> Log {
        Log {
            level: self.text("log.level"),
            format: match self.text("log.format").as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
        }
    }
}

/// What was read with the same rule before, or is a default.
fn checked<T>(parsed: Result<T, InvalidId>) -> T {
    parsed.unwrap_or_else(|error| unreachable!("{error}"))
}
