//! `sockd reload` in the node's own directory, as an operator calls it: neither an address nor a secret
//! is given, and the file may say something else by now than the node was started with.

use super::{NEW_INTERNAL, NEW_SECRET, Node, settings};
use crate::support::{
    command::{Done, Shell},
    jwt,
    sockd::INTERNAL_SECRET,
};

const LISTEN: &str = "internal.listen = \"unix:internal.sock\"\n";

impl Node {
    async fn start_apart(more: &str) -> Self {
        Self::start(&settings(
            jwt::SECRET,
            INTERNAL_SECRET,
            &format!("{LISTEN}{more}"),
        ))
        .await
    }

    /// Runs a command where the node runs.
    async fn there(&self, command: &str) -> Done {
        let directory = self.directory.path().display();
        Shell::new()
            .sh(&format!("cd '{directory}' && {command}"))
            .await
    }

    async fn log_has(&self, text: &str) {
        self.logs(text, 1).await;
    }
}

#[tokio::test]
async fn a_secret_is_rotated_by_the_file_alone() {
    let node = Node::start_apart("").await;
    let both = format!("{LISTEN}internal.previous_secrets = [\"{INTERNAL_SECRET}\"]\n");
    node.write(&settings(jwt::SECRET, NEW_INTERNAL, &both));
    // The node knows only the old one yet, whichever command calls it.
    let emit = format!("sockd emit {} profile:update", jwt::user());
    node.there(&emit).await.ok();
    let told = node.there("sockd reload").await.ok();
    assert_eq!(
        told,
        "changed        internal.secret, internal.previous_secrets\n"
    );
    node.there(&emit).await.ok();
    node.write(&settings(jwt::SECRET, NEW_INTERNAL, LISTEN));
    let told = node.there("sockd reload").await.ok();
    assert_eq!(told, "changed        internal.previous_secrets\n");
    node.there(&emit).await.ok();
    let told = node.there("sockd reload").await.ok();
    assert_eq!(told, "nothing has changed\n");
}

#[tokio::test]
async fn a_secret_that_was_replaced_at_once_takes_a_signal() {
    let node = Node::start_apart("").await;
    node.write(&settings(jwt::SECRET, NEW_INTERNAL, LISTEN));
    let stderr = node.there("sockd reload").await.fails(4);
    assert!(
        stderr.contains("previous_secrets") && stderr.contains("SIGHUP"),
        "{stderr}"
    );
    node.sockd.signal("HUP");
    node.log_has("reloaded the configuration by=\"SIGHUP\"")
        .await;
    let told = node.there("sockd reload").await.ok();
    assert_eq!(told, "nothing has changed\n");
}

#[tokio::test]
async fn the_node_is_asked_whatever_mistakes_the_file_has() {
    let node = Node::start_apart("").await;
    let wrong =
        format!("{LISTEN}limits.handshakess = 1\nlog.level = 5\nredis.tls_ca_file = \"no.pem\"\n");
    let mistakes = [
        "sockd.toml:4:8: unknown key limits.handshakess; did you mean limits.handshakes?",
        "sockd.toml:5:5: log.level: 5 is not a log filter",
        // Only a node that serves with it reads this file.
        "sockd.toml:6:7: redis.tls_ca_file: \"no.pem\" not found",
    ];
    node.write(&settings(NEW_SECRET, INTERNAL_SECRET, &wrong));
    let stderr = node.there("sockd reload").await.fails(2);
    for mistake in mistakes {
        assert!(stderr.contains(mistake), "{stderr}");
        node.log_has(mistake).await;
    }
    node.log_has("the new configuration has mistakes, keeping the old one by=\"sockd reload\"")
        .await;
    let json = node.there("sockd reload --json").await;
    assert_eq!((json.code, json.stderr.as_str()), (Some(2), ""), "{json:?}");
    assert!(json.stdout.contains("did you mean limits.handshakes?"));
}

/// Such as a pipe, as a shell's process substitution makes it.
#[tokio::test]
async fn a_file_that_cannot_be_read_does_not_hold_up_later_reloads() {
    let node = Node::start_apart("").await;
    let apart = format!("{LISTEN}internal.previous_secret_files = [\"old\"]\n");
    node.write(&settings(jwt::SECRET, INTERNAL_SECRET, &apart));
    node.there("mkfifo old").await.ok();
    node.sockd.signal("HUP");
    node.log_has("\"old\" cannot be read: it is a pipe, not a regular file")
        .await;
    node.there("rm old && head -c 70000 /dev/zero > old")
        .await
        .ok();
    let stderr = node.there("sockd reload").await.fails(2);
    assert!(
        stderr.contains("\"old\" cannot be read: it has more than 64.0 KiB"),
        "{stderr}"
    );
    node.there("printf old-secret-old-secret-old-secret > old")
        .await
        .ok();
    let told = node.there("sockd reload").await.ok();
    assert!(told.contains("internal.previous_secret_files"), "{told}");
}

/// Then it lists what it sees itself.
#[tokio::test]
async fn a_node_that_mistakes_hide_is_not_asked() {
    let node = Node::start_apart("").await;
    let listen = "internal.listen = 5\nlimits.handshakess = 1\n";
    for (file, mistakes) in [
        (
            settings(jwt::SECRET, INTERNAL_SECRET, listen),
            [
                "sockd.toml:3:10: internal.listen: 5 is not",
                "sockd.toml:4:8: unknown key",
            ],
        ),
        // Nothing listens there.
        (
            settings(
                jwt::SECRET,
                INTERNAL_SECRET,
                "internal.listen = \"unix:none.sock\"\nlimits.handshakess = 1\n",
            ),
            ["sockd.toml:4:8: unknown key", ""],
        ),
        (
            "auth.secret = \"".to_owned(),
            ["sockd.toml:1:16: not TOML", ""],
        ),
    ] {
        node.write(&file);
        let stderr = node.there("sockd reload").await.fails(2);
        for mistake in mistakes {
            assert!(stderr.contains(mistake), "{stderr}");
        }
        let json = node.there("sockd reload --json").await;
        assert_eq!((json.code, json.stderr.as_str()), (Some(2), ""), "{json:?}");
        assert!(json.stdout.contains("\"ok\":false"), "{json:?}");
    }
    assert!(!node.sockd.log().text().contains("has mistakes"));
}
