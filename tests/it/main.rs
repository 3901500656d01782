//! What clients, callers and operators see, proven on the built binary with real clients and a real
//! Redis.

#![expect(
    unreachable_pub,
    reason = "nothing uses this crate; `pub` is what other files may use"
)]

mod browser;
mod capacity;
mod cli;
mod clients;
mod connections;
mod cors;
mod differential;
mod doctor;
mod emit;
mod endings;
mod engine;
mod exactness;
mod expiry;
mod faults;
mod force_logout;
mod garbage;
mod handshake;
mod hangups;
mod hosts;
mod internal;
mod keep_alive;
mod late;
mod layers;
mod limits;
mod log;
mod memory;
mod metrics;
mod misplaced;
mod namespace;
mod nodes;
mod official;
mod outage;
mod races;
mod refusals;
mod renewal;
mod repository;
mod session;
mod shutdown;
mod signals;
mod start;
mod support;
mod tokens;
mod topologies;
mod upgrade;
mod versions;
