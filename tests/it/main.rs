//! The contract, proven on the built binary with real clients and a real Redis.

#![expect(
    unreachable_pub,
    reason = "nothing uses this crate; `pub` is what other files may use"
)]

mod connections;
mod doctor;
mod refusals;
mod browser;
mod clients;
mod layers;
mod repository;
mod cors;
mod engine;
mod expiry;
mod handshake;
mod limits;
mod memory;
mod namespace;
mod cli;
mod session;
mod support;
mod tokens;
