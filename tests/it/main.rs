//! The contract, proven on the built binary with real clients and a real Redis.

mod session;
mod support;
mod topologies;
