//! The configuration: [`load`] reads all sources, and [`Settings::resolve`] returns a [`Config`]
//! without maybes.
//!
//! Values go one way, and so does every `use`:
//!
//! 1. `table` lists every setting and its kind, one of `kinds`; `setting` makes types of the list, and
//!    a `kind` reads a value.
//! 2. `file`, `environment` (with `dotenv`) and the flags each give what they say of settings;
//!    `source` says where a value was read, and `problem` collects mistakes.
//! 3. `settings` keeps the strongest value of each setting, with its origin.
//! 4. `resolve`, with `credentials`, `redis` and `jwks`, makes the `Config`; `advice` warns of what works
//!    but probably not as intended, and `example` writes the commented file.

mod advice;
mod credentials;
mod dotenv;
mod environment;
mod example;
mod file;
mod jwks;
mod kind;
mod kinds;
mod listen;
mod problem;
mod redis;
mod redis_url;
mod resolve;
mod setting;
mod settings;
mod source;
mod table;
#[cfg(test)]
mod tests;

pub use jsonwebtoken::{Algorithm, AlgorithmFamily};

pub use self::{
    advice::named_secrets,
    example::example,
    jwks::{Jwks, JwksSource},
    listen::{ClientTls, InternalListener, TlsFiles, UnixSocket},
    problem::{Problem, Problems},
    redis::{Redis, Sentinel, Topology},
    resolve::{Endpoint, Loaded, SessionStorage},
    settings::{Row, Settings, load},
    source::{Flag, Sources},
    table::{Limits, Log, Server, Sessions, SocketIo},
};

use clap::ValueEnum;

use crate::{
    id::{IdFormats, SupportedEvents},
    secret::Secret,
};

/// The names of all algorithms of signatures (RFC 7518, RFC 8037), those first that are preferred
/// where several fit a key.
pub const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

/// Everything that `sockd serve` needs.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    /// `None`: clients come without TLS, mostly by a proxy that ends it.
    pub server_tls: Option<TlsFiles>,
    pub socketio: SocketIo,
    pub cors: Cors,
    pub auth: Auth,
    pub ids: IdFormats,
    pub internal: Internal,
    pub metrics: Metrics,
    pub events: SupportedEvents,
    pub sessions: Sessions,
    /// The prefix of a user's room, `user:`; the bus channel of the user is named after it.
    pub room_prefix: String,
    /// `None` keeps sessions in this process.
    pub redis: Option<Redis>,
    pub limits: Limits,
    pub log: Log,
}

/// Which origins may read responses of the Socket.IO endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cors {
    Any,
    One(String),
    List(Vec<String>),
}

/// How tokens are verified.
#[derive(Debug, Clone)]
pub struct Auth {
    /// HMAC secrets or PEM keys; each may verify a token, and the first signs those that sockd mints.
    /// Beside `jwks` only HMAC secrets, or none.
    pub secrets: Vec<Secret>,
    /// The only keys for tokens with a public-key algorithm.
    pub jwks: Option<Jwks>,
    /// Names as in RFC 7518; an unknown one verifies nothing.
    pub algorithms: Vec<String>,
    pub user_claim: String,
    pub session_claim: String,
    /// Unless empty, a token's `iss` must be one of these.
    pub issuers: Vec<String>,
    /// Unless empty, a token's `aud` must be or contain one of these.
    pub audiences: Vec<String>,
    pub on_expiry: OnExpiry,
}

/// What happens to a socket whose token expires while it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnExpiry {
    Disconnect,
    Keep,
}

/// Who may call the internal routes, and where.
#[derive(Debug, Clone)]
pub struct Internal {
    /// `None` serves them, health and metrics on the clients' port.
    pub listen: Option<InternalListener>,
    pub tls: Option<TlsFiles>,
    /// Whether connections there begin with the header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Each is accepted; sockd's own commands send the first.
    pub secrets: Vec<Secret>,
    /// The longest body of a request, in bytes.
    pub max_body: usize,
    /// How many requests run at once.
    pub concurrency: usize,
}

/// Who may read `/metrics` and the reason of `/readyz`, besides callers of the internal routes.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The bearer token of scrapers.
    pub secret: Option<Secret>,
    /// Whether `/metrics` needs no secret.
    pub public: bool,
}

/// The header in which proxies say where a client is. Only one is read: a proxy that writes the other
/// one passes on what clients write in this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ForwardedHeader {
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}
