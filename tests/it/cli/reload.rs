//! `sockd reload`: what it prints and exits with; what it does is tested in `process`.

use super::NOWHERE;
use crate::support::{command::Shell, sockd::Sockd};

#[tokio::test]
async fn a_node_without_changes_says_so() {
    let sockd = Sockd::start().await;
    let shell = Shell::at(&sockd);
    let done = shell.run(&["reload"]).await;
    assert_eq!(done.stderr, "");
    assert_eq!(done.ok(), "nothing has changed\n");
    let done = shell.run(&["reload", "--json"]).await;
    let expected = r#"{"ok":true,"changed":[],"needsRestart":[],"warnings":[]}"#;
    assert_eq!(done.ok(), format!("{expected}\n"));
}

#[tokio::test]
async fn a_node_that_cannot_be_asked_is_a_failure_of_its_kind() {
    let sockd = Sockd::start().await;
    let away = Shell::at(&sockd).env("SOCKD_URL", NOWHERE);
    away.run(&["reload"]).await.fails(3);
    let wrong = Shell::at(&sockd).env("INTERNAL_SECRET", "another");
    wrong.run(&["reload"]).await.fails(4);
    let nobody = Shell::new().env("SOCKD_URL", sockd.url());
    nobody.run(&["reload"]).await.fails(2);
}
