//! The internal routes, `/healthz`, `/readyz` and `/metrics`, as backends and operators call them.

mod emit;
mod hangups;
mod hosts;
mod inspection;
mod internal;
mod keep_alive;
mod listener;
mod metrics;
mod request_id;
mod status;
mod trace;
mod users;
