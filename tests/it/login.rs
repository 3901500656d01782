//! Who gets in, for how long, and who has to go: tokens, sessions and force-logout.

mod expiry;
mod force_logout;
mod handshake;
mod keys;
mod races;
mod renewal;
mod session;
mod tokens;
