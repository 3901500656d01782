//! What clients, callers and operators see, proven on the built binary with real clients and a real
//! Redis.
//!
//! The rooms, in the order of the crate's layers from outside in:
//!
//! - [`protocol`]: Socket.IO, byte for byte: opening, packets, upgrades, limits, and its oracles.
//! - [`clients`]: stock Socket.IO clients and a browser, as applications use them.
//! - [`login`]: who is admitted, and who must leave: tokens, sessions, force-logout.
//! - [`api`]: the internal routes, health and metrics, as backends call them.
//! - [`redis`]: Redis in each form, its outages and refusals, and several nodes on one Redis.
//! - [`faults`]: Redis, the network and nodes fail under load, and nothing is lost silently.
//! - [`process`]: how the server starts, logs, takes signals and ends.
//! - [`cli`]: the operator's commands.
//! - [`deploy`]: the files of `deploy/`, with the programs that they are for.
//! - [`house`]: the layers of the crate, and files that the program writes.
//! - [`support`]: the servers and clients that all of them share.

#![expect(
    unreachable_pub,
    reason = "nothing uses this crate; `pub` is what other files may use"
)]

mod api;
mod cli;
mod clients;
mod deploy;
mod faults;
mod house;
mod login;
mod process;
mod protocol;
mod redis;
mod support;
