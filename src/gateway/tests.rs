//! An engine without a listener, for tests of its parts.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use super::{capacity::Permit, engine::Engine, entrance::Entrance, raw_stream::RawStream};
use crate::{
    bus::Bus,
    config::{Config, Sources, load},
    id::NodeId,
    lifecycle::Lifecycle,
    node::Node,
    reload::{Current, Reloadable},
    session::{SessionStore, memory::MemorySessions},
};

/// With every setting's default, and sessions in memory.
pub(super) fn engine() -> Arc<Engine> {
    let config = config();
    let lifecycle = Lifecycle::default();
    let node = Node::start(
        NodeId::try_from("a-node".to_owned()).expect("an id"),
        SessionStore::Memory(MemorySessions::new(Duration::from_secs(60))),
        Bus::Local,
        Duration::from_secs(60),
        &lifecycle,
    );
    let reloadable = Reloadable::new(&config).expect("a key");
    let entrance = Entrance::new(node);
    Engine::start(&config, Current::new(reloadable), entrance, &lifecycle)
}

/// A permit for one connection.
pub(super) fn permit(engine: &Arc<Engine>) -> Permit {
    Permit::acquire(engine, None).unwrap_or_else(|_| panic!("no limit is reached"))
}

pub(super) fn config() -> Config {
    let directory = TempDir::new().expect("a folder for temporary files");
    let secret = "a-secret-of-the-tests-that-is-long-enough";
    let secrets = ["JWT_SECRET", "INTERNAL_SECRET"];
    let sources = Sources {
        env: secrets.map(|name| (name.to_owned(), secret.into())).into(),
        directory: directory.path().to_owned(),
        system_file: directory.path().join("none"),
        ..Sources::default()
    };
    let settings = load(&sources).expect("settings");
    settings.resolve().expect("a configuration").config
}

/// The server's and the client's end of a TCP connection.
pub(super) async fn streams() -> (RawStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let client = TcpStream::connect(address).await.expect("a connection");
    let (server, _) = listener.accept().await.expect("a connection");
    (RawStream::Tcp(server), client)
}
