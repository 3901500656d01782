//! The contract, proven on the built binary with real clients and a real Redis.

#![expect(
    unreachable_pub,
    reason = "nothing uses this crate; `pub` is what other files may use"
)]

mod browser;
mod cli;
mod clients;
mod connections;
mod cors;
mod doctor;
mod engine;
mod expiry;
mod handshake;
mod layers;
mod limits;
mod memory;
mod namespace;
mod refusals;
mod repository;
mod session;
mod support;
mod tokens;
