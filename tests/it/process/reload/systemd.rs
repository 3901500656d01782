//! The notifications that systemd gets.

use tokio::net::UnixDatagram;

use super::{Node, plain};
use crate::support::{PATIENCE, within};

/// The part of systemd.
struct Systemd(UnixDatagram);

impl Systemd {
    /// Returns the next message that does not feed the watchdog.
    async fn told(&self) -> String {
        loop {
            let message = self.message().await;
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
    }

    async fn message(&self) -> String {
        let mut buffer = [0; 512];
        let received = within(PATIENCE, "a message", self.0.recv(&mut buffer)).await;
        let length = received.expect("a datagram");
        String::from_utf8(buffer[..length].to_vec()).expect("UTF-8")
    }

    /// Reads the notifications of a reload; returns the time at which it began.
    async fn reload(&self) -> u64 {
        let begun = self.told().await;
        let time = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        let time = time.unwrap_or_else(|| panic!("{begun}")).trim().parse();
        assert_eq!(self.told().await, "READY=1\n");
        time.expect("microseconds")
    }
}

#[tokio::test]
async fn systemd_is_told_of_the_start_a_reload_and_the_end() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("notify");
    let systemd = Systemd(UnixDatagram::bind(&path).expect("a socket"));
    let mut node = Node::start_with(&plain(""), |builder| {
        let path = path.to_str().expect("UTF-8");
        builder
            .env("NOTIFY_SOCKET", path)
            .env("WATCHDOG_USEC", "100000")
    })
    .await;
    assert_eq!(systemd.told().await, "READY=1\n");
    for _ in 0..3 {
        assert_eq!(systemd.message().await, "WATCHDOG=1\n");
    }
    node.sockd.signal("HUP");
    let first = systemd.reload().await;
    // It is ready again also when it keeps what it had.
    node.write("not TOML");
    node.sockd.signal("HUP");
    let second = systemd.reload().await;
    assert!(second > first && first > 0, "{first} {second}");
    node.sockd.signal("TERM");
    assert_eq!(systemd.told().await, "STOPPING=1\n");
    assert_eq!(node.sockd.ended(PATIENCE).await.code(), Some(0));
}
