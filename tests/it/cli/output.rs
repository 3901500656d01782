//! What all commands have in common: help, exit codes, stdout and stderr.

use crate::support::command::Shell;

const COMMANDS: [&[&str]; 19] = [
    &[],
    &["serve"],
    &["emit"],
    &["force-logout"],
    &["kick"],
    &["listen"],
    &["token"],
    &["token", "mint"],
    &["token", "check"],
    &["sessions"],
    &["sessions", "ls"],
    &["sessions", "rm"],
    &["doctor"],
    &["config"],
    &["config", "check"],
    &["config", "show"],
    &["config", "example"],
    &["completions"],
    &["man"],
];

#[tokio::test]
async fn every_command_has_help_on_stdout() {
    let shell = Shell::new();
    for command in COMMANDS {
        let done = shell.run(&[command, &["--help"]].concat()).await;
        assert_eq!(done.stderr, "");
        let help = done.ok();
        assert!(
            help.contains(&format!(
                "Usage: {}",
                [&["sockd"], command].concat().join(" ")
            )),
            "{help}"
        );
        let widest = help.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(110), "{command:?}: {widest:?}");
    }
}

#[tokio::test]
async fn every_command_lists_its_exit_codes() {
    let shell = Shell::new();
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md");
    let docs = std::fs::read_to_string(docs)
        .expect("docs/operating.md")
        .replace('\n', " ");
    let help = shell.run(&["--help"]).await.ok();
    for (code, meaning) in [
        (0, "ok"),
        (1, "failed"),
        (2, "usage or configuration"),
        (3, "unreachable"),
        (4, "unauthorised"),
        (5, "user offline under --require-online"),
    ] {
        assert!(
            help.contains(&format!("  {code}  {meaning}\n"))
                || help.ends_with(&format!("  {code}  {meaning}\n")),
            "{help}"
        );
        assert!(
            docs.contains(&format!(
                "{code} {}",
                meaning.replace("--require-online", "`--require-online`")
            )),
            "{code}"
        );
    }
    for (command, codes) in [
        (&["emit"][..], "012345"),
        (&["force-logout"], "01234"),
        (&["listen"], "01234"),
        (&["sessions", "ls"], "01234"),
        (&["doctor"], "01234"),
        (&["serve"], "012"),
        (&["token", "mint"], "012"),
        (&["token", "check"], "012"),
        (&["config", "check"], "02"),
        (&["config", "show"], "02"),
    ] {
        let help = shell.run(&[command, &["--help"]].concat()).await.ok();
        let (_, list) = help
            .split_once("Exit codes:\n")
            .unwrap_or_else(|| panic!("{help}"));
        let listed: String = list
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.chars().next())
            .filter(char::is_ascii_digit)
            .collect();
        assert_eq!(listed, codes, "{help}");
    }
}

#[tokio::test]
async fn unknown_commands_are_usage_errors() {
    let shell = Shell::new();
    for (arguments, complaint) in [
        (&[][..], "Usage: sockd"),
        (&["emitt"], "a similar subcommand exists: 'emit'"),
        (&["emit", "--nope", "x"], "unexpected argument '--nope'"),
        (&["completions", "tcsh"], "possible values: bash"),
    ] {
        let stderr = shell.run(arguments).await.fails(2);
        assert!(stderr.contains(complaint), "{stderr}");
    }
}

#[tokio::test]
async fn a_reader_that_closes_the_pipe_is_no_failure() {
    let shell = Shell::new().env("JWT_SECRET", "s".repeat(32));
    for command in [
        "config example",
        "config show",
        "completions bash",
        "token mint --count 5000",
        "--help",
    ] {
        let arguments: Vec<_> = command.split(' ').collect();
        let done = shell.run_unread(&arguments).await;
        assert_eq!(
            (done.code, done.stderr.as_str()),
            (Some(0), ""),
            "{command}"
        );
    }
    // The exit code says it all the same.
    let done = shell.run_unread(&["token", "check", "x"]).await;
    assert_eq!((done.code, done.stderr.as_str()), (Some(1), ""));
    let full = shell.sh("sockd config example > /dev/full").await.fails(1);
    assert!(full.contains("cannot write the result to stdout"), "{full}");
}
