//! Redis, the network and the nodes fail under load, and nothing is lost silently.
//!
//! Two nodes on one Redis, each over a network that the test can spoil; users with sockets on
//! both, over WebSocket and polling; senders that emit numbered events to both nodes all the time,
//! and a replacer that makes sessions old. All of them write down in a ledger what they did and saw.
//! When a fault is over, `promises` checks the ledger and prints a row of figures:
//! `cargo test --test it faults:: -- --nocapture`.

mod ledger;
mod load;
mod network;
mod nodes;
mod population;
mod promises;
mod redis;
mod scene;
