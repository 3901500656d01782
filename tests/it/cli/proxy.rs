//! Proxies that the environment names: used for a node only when asked for.

use futures_util::FutureExt;
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::support::{
    command::Shell,
    jwt,
    sockd::{INTERNAL_SECRET, Sockd},
};

/// A node that only a proxy could reach.
const ELSEWHERE: &str = "http://node.invalid:1";

/// A shell in which the server is the proxy: it takes what a proxy is sent for what it is sent itself.
fn shell(proxy: &Sockd, variable: &str) -> Shell {
    Shell::new()
        .env("SOCKD_URL", ELSEWHERE)
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .env(variable, proxy.url())
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_used_only_when_asked_for() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let session = jwt::session();
    let commands: [&[&str]; 3] = [
        &["emit", &user, "profile:update"],
        &["force-logout", &user, &session],
        &["sessions", "ls", "--url", ELSEWHERE],
    ];
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        let shell = shell(&sockd, variable);
        for command in commands {
            let direct = shell.run(command).await.fails(3);
            assert!(direct.contains(ELSEWHERE), "{variable}: {direct}");
            shell.run(&[command, &["--proxy"]].concat()).await.ok();
        }
    }
    let excepted = shell(&sockd, "http_proxy").env("no_proxy", "node.invalid");
    let command = [commands[0], &["--proxy"]].concat();
    excepted.run(&command).await.fails(3);
}

#[tokio::test]
async fn an_https_proxy_is_used_only_when_asked_for() {
    for variable in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let shell = Shell::new()
            .env("SOCKD_URL", "https://node.invalid:1")
            .env("INTERNAL_SECRET", INTERNAL_SECRET)
            .env(variable, format!("http://{address}"));
        let user = jwt::user();
        let command = ["emit", &user, "profile:update"];
        shell.run(&command).await.fails(3);
        let came = listener.accept().now_or_never();
        assert!(came.is_none(), "{variable}");
        let asking = [&command[..], &["--proxy"]].concat();
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.expect("a request");
            head
        };
        let (done, head) = tokio::join!(shell.run(&asking), serve);
        done.fails(3);
        assert_eq!(&head, b"CONNECT node", "{variable}");
    }
}

#[tokio::test]
async fn a_node_on_this_machine_is_always_called_directly() {
    let sockd = Sockd::start().await;
    let shell = Shell::at(&sockd).env("http_proxy", "http://127.0.0.1:1");
    for arguments in [&[][..], &["--proxy"]] {
        let user = jwt::user();
        let command = [&["emit", &user, "profile:update"], arguments].concat();
        shell.run(&command).await.ok();
    }
}
