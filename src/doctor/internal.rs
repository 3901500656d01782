//! Where the internal routes are served, and whether a server could listen there.

use std::io;

use super::Finding;
use crate::{
    config::{Config, InternalListener, UnixSocket},
    error::chain,
    stream::{
        tcp,
        unix::{self, Occupant},
    },
};

const CHECK: &str = "internal";

pub(super) async fn examine(config: &Config) -> Finding {
    match &config.internal.listen {
        None => Finding::ok(
            CHECK,
            format!(
                "routes, health and metrics share port {} with the clients; let the proxy pass on /socket.io/ only",
                config.server.port
            ),
        ),
        Some(listen @ InternalListener::Tcp { host, port }) => {
            examine_address(&listen.to_string(), host, *port).await
        }
        Some(InternalListener::Unix(socket)) => examine_socket(socket),
    }
}

/// Binds the address as a server would, without listening there.
async fn examine_address(address: &str, host: &str, port: u16) -> Finding {
    let state = match tcp::bind(host, port).await {
        Ok(_) if port == 0 => "a port that the system chooses",
        Ok(_) => "the port is free",
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            "a process is listening on it now"
        }
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => "choose a port above 1023",
                _ => {
                    "set internal.listen to an address of this machine, such as \"127.0.0.1:3001\""
                }
            };
            let found = format!("{address} is not available: {error}");
            return Finding::fail(CHECK, found, remedy);
        }
    };
    Finding::ok(
        CHECK,
        format!("apart from the clients, at {address}; {state}"),
    )
}

fn examine_socket(socket: &UnixSocket) -> Finding {
    let UnixSocket { path, mode, group } = socket;
    let occupant = match unix::examine(socket) {
        Ok(Occupant::Nothing) => "",
        Ok(Occupant::Leftover) => "; a process left one there, which the next server replaces",
        Ok(Occupant::Listener) => "; a process is listening on it now",
        Err(error) => return Finding::fail(CHECK, chain(&error), error.remedy()),
    };
    let group = group.as_deref().unwrap_or("of sockd");
    Finding::ok(
        CHECK,
        format!(
            "apart from the clients, at unix:{} with mode {mode:04o} and group {group}{occupant}",
            path.display()
        ),
    )
}
