//! sockd: a dedicated Socket.IO push gateway with single login.
//!
//! The crate's map, in reading order:
//!
//! 1. [`error`], [`id`], [`label`], [`secret`], [`wire`]: the domain's types; no I/O. [`file`] reads
//!    the files that operators name.
//! 2. [`config`]: the settings, resolved; [`metrics`] counts; [`lifecycle`] ends the process and
//!    its connections in order.
//! 3. [`auth`] verifies tokens, [`redis`] connects, [`telemetry`] logs, [`trace`] shows operators what
//!    happens to a user, [`tls`] reads certificates, [`open_files`] divides the limit of open files,
//!    [`stream`] is the byte stream under HTTP.
//! 4. [`session`] knows each user's active session, [`bus`] reaches the other nodes, [`hub`] holds
//!    this process's sockets, [`reload`] the settings that can change while it runs.
//! 5. [`node`]: the use cases, on top of these three: admit, emit, force-logout, enforce, sweep.
//! 6. [`gateway`] lets Socket.IO clients in, [`http`] lets backends in.
//! 7. [`server`] assembles a process; [`doctor`] checks what a process depends on; [`client`]
//!    calls a running one, and uses only layer 1.
//! 8. [`cli`]: the commands.
//!
//! Each layer uses only those above it in this list, and siblings never use each other, except in
//! layer 1. Only `gateway`, `http` and `server` name axum; only `redis`, `session`, `bus` and
//! `doctor` name the redis crate. Commands other than `serve` reach a node only through `client` or, as
//! `listen` does, as a Socket.IO client; they reach sessions in Redis only through `session`, and Redis
//! itself only through `doctor`, which leaves nothing in it. `tests/it/house/layers.rs` reads this list and
//! enforces all of it.

pub mod auth;
pub mod bus;
pub mod cli;
pub mod client;
pub mod config;
pub mod doctor;
pub mod error;
pub mod file;
pub mod gateway;
pub mod http;
pub mod hub;
pub mod id;
pub mod label;
pub mod lifecycle;
pub mod metrics;
pub mod node;
pub mod open_files;
pub mod redis;
pub mod reload;
pub mod secret;
pub mod server;
pub mod session;
pub mod stream;
pub mod telemetry;
pub mod tls;
pub mod trace;
pub mod wire;
