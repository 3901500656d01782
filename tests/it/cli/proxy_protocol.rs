//! Commands at listeners that demand a header of the PROXY protocol.

use std::path::Path;

use crate::support::{
    command::Shell,
    jwt,
    process::free_port,
    sockd::{Builder, INTERNAL_SECRET, Sockd},
};

fn builder() -> Builder {
    Sockd::builder()
        .env("SOCKD_SERVER__PROXY_PROTOCOL", "true")
        .env("SOCKD_INTERNAL__PROXY_PROTOCOL", "true")
}

/// The folder and environment of the server, for a command: its configuration.
fn shell(sockd: &Sockd) -> Shell {
    let internal = sockd.internal_url();
    let listen = internal.strip_prefix("http://").unwrap_or(&internal);
    Shell::new()
        .env("JWT_SECRET", jwt::SECRET)
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .env("PORT", sockd.address().port().to_string())
        .env("SOCKD_SERVER__PROXY_PROTOCOL", "true")
        .env("SOCKD_INTERNAL__PROXY_PROTOCOL", "true")
        .env("SOCKD_INTERNAL__LISTEN", listen)
}

#[tokio::test]
async fn commands_send_the_header_that_their_configuration_demands() {
    let user = jwt::user();
    let emit = ["emit", user.as_str(), "profile:update"];
    for listen in ["127.0.0.1:0", "[::1]:0", "unix:internal.sock"] {
        let sockd = builder()
            .env("SOCKD_INTERNAL__LISTEN", listen)
            .start()
            .await;
        let shell = shell(&sockd);
        shell.run(&emit).await.ok();
        shell.run(&["status"]).await.ok();
        let lines = format!("{{\"userId\":\"{user}\",\"event\":\"profile:update\"}}\n").repeat(50);
        let batch = ["emit", "--batch", "-"];
        shell.run_with(&batch, &lines).await.ok();
        // A proxy may be at a URL, which sends a header by itself.
        let internal = sockd.internal_url();
        let at = [&emit[..], &["--url", &internal]].concat();
        let told = shell.run(&at).await.fails(3);
        assert!(told.contains("--proxy-protocol"), "{told}");
        let at = [&at[..], &["--proxy-protocol"]].concat();
        shell.run(&at).await.ok();
    }
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let fixture = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        folder.join(name).display().to_string()
    };
    let files = [
        ("SOCKD_INTERNAL__TLS_CERT_FILE", fixture("server.pem")),
        ("SOCKD_INTERNAL__TLS_KEY_FILE", fixture("server.key.pem")),
        ("SOCKD_INTERNAL__TLS_CLIENT_CA_FILE", fixture("ca.pem")),
    ];
    let builder = files.iter().fold(builder(), |builder, (name, path)| {
        builder.env(name, path.as_str())
    });
    let sockd = builder
        .env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0")
        .start()
        .await;
    let shell = files.iter().fold(shell(&sockd), |shell, (name, path)| {
        shell.env(name, path.as_str())
    });
    let shell = shell
        .env("SOCKD_INTERNAL__COMMAND_CA_FILE", fixture("ca.pem"))
        .env("SOCKD_INTERNAL__COMMAND_CERT_FILE", fixture("client.pem"))
        .env(
            "SOCKD_INTERNAL__COMMAND_KEY_FILE",
            fixture("client.key.pem"),
        );
    let user = jwt::user();
    shell.run(&["emit", &user, "profile:update"]).await.ok();
}

#[tokio::test]
async fn listen_sends_it_to_the_clients_port() {
    let sockd = builder()
        .env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0")
        .start()
        .await;
    let shell = shell(&sockd);
    let user = jwt::user();
    let listen = ["listen", &user, "--new-session", "--count", "1"];
    let emits = async {
        loop {
            shell.run(&["emit", &user, "profile:update"]).await.ok();
        }
    };
    let heard = tokio::select! {
        heard = shell.run(&listen) => heard.ok(),
        () = emits => unreachable!("it goes on"),
    };
    assert!(heard.contains("profile:update"), "{heard}");
}

#[tokio::test]
async fn a_node_that_is_not_there_is_unreachable_all_the_same() {
    let port = free_port();
    for listen in [format!("127.0.0.1:{port}"), "unix:none.sock".to_owned()] {
        let shell = Shell::new()
            .env("INTERNAL_SECRET", INTERNAL_SECRET)
            .env("JWT_SECRET", jwt::SECRET)
            .env("SOCKD_INTERNAL__LISTEN", listen)
            .env("SOCKD_INTERNAL__PROXY_PROTOCOL", "true");
        let told = shell.run(&["status"]).await.fails(3);
        assert!(told.contains("no answer from"), "{told}");
    }
}
