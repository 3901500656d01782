//! The contract, proven on the built binary with real clients and a real Redis.

#![expect(
    unreachable_pub,
    reason = "nothing uses this crate; `pub` is what other files may use"
)]

mod emit;
mod force_logout;
mod internal;
mod nodes;
mod outage;
mod races;
mod session;
mod shutdown;
mod start;
mod support;
