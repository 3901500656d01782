//! Where the internal routes are served, and whether a server could listen there.

use tokio::net::lookup_host;

use super::Finding;
use crate::{
    config::{Config, InternalListener, UnixSocket},
    stream::unix::{self, Occupant},
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
            match lookup_host((host.as_str(), *port)).await {
                Ok(_) => Finding::ok(CHECK, format!("apart from the clients, at {listen}")),
                Err(error) => Finding::fail(
                    CHECK,
                    format!("{host:?} is not an address of this machine: {error}"),
                    "set internal.listen to one such as \"127.0.0.1:3001\"",
                ),
            }
        }
        Some(InternalListener::Unix(socket)) => examine_socket(socket),
    }
}

fn examine_socket(socket: &UnixSocket) -> Finding {
    let UnixSocket { path, mode, group } = socket;
    let occupant = match unix::examine(socket) {
        Ok(Occupant::Nothing) => "",
        Ok(Occupant::Leftover) => "; a process left one there, which the next server replaces",
        Ok(Occupant::Listener) => "; a process is listening on it now",
        Err(error) => {
            let text = error.to_string();
            let (found, remedy) = text.split_once("; ").unwrap_or((&text, ""));
            return Finding::fail(CHECK, found, remedy);
        }
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
