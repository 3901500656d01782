//! The server as a process: how it starts, logs, takes signals and ends.

mod access;
mod addresses;
mod log;
mod moving;
mod reload;
mod shutdown;
mod signals;
mod start;
mod tls;
