//! The contract, proven on the built binary with real clients and a real Redis.

#![expect(
    unreachable_pub,
    reason = "nothing uses this crate; `pub` is what other files may use"
)]

mod session;
mod support;
mod topologies;
