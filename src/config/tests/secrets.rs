//! Secrets: where they come from, and that they are never shown.

use super::*;

fn exposed(secrets: &[crate::secret::Secret]) -> Vec<&str> {
    secrets.iter().map(crate::secret::Secret::expose).collect()
}

#[test]
fn one_newline_at_the_end_of_a_file_is_not_part_of_the_secret() {
    for (content, secret) in [
        ("s", "s"),
        ("s\n", "s"),
        ("s\r\n", "s"),
        ("s\n\n", "s\n"),
        (" s ", " s "),
    ] {
        let start = Start::new()
            .file("key", content)
            .env("SOCKD_AUTH__SECRET_FILE", "key");
        assert_eq!(exposed(&start.config().auth.secrets), [secret]);
    }
}

#[test]
fn files_that_hold_no_secret_are_told() {
    let start = Start::new()
        .file("key", "\n")
        .env("SOCKD_AUTH__SECRET_FILE", "key");
    assert_eq!(
        start.problems(),
        "environment SOCKD_AUTH__SECRET_FILE: auth.secret_file: \"key\" is empty; write the secret into it"
    );
    let start = Start::new()
        .file("key", [0xff])
        .env("SOCKD_AUTH__SECRET_FILE", "key");
    assert!(start.problems().contains("\"key\" cannot be read"));
}

#[test]
fn every_familiar_secret_can_come_from_a_file() {
    for name in ["INTERNAL_SECRET_FILE", "AUTH_TOKEN_FILE", "SECRET_KEY_FILE"] {
        let start = Start::bare()
            .file("run/jwt", "jwt\n")
            .file("run/internal", "internal\n")
            .file("run/redis", "redis\n")
            .env("JWT_SECRET_FILE", "run/jwt")
            .env("REDIS_PASS_FILE", "run/redis")
            .env(name, "run/internal");
        let config = start.config();
        assert_eq!(exposed(&config.auth.secrets), ["jwt"]);
        assert_eq!(exposed(&config.internal.secrets), ["internal"]);
        let redis = config.redis.expect("a password means Redis");
        assert_eq!(redis.password.expect("a password").expose(), "redis");
    }
}

#[test]
fn scrapers_need_no_secret_of_their_own_and_can_have_one_from_a_file() {
    assert!(Start::new().config().metrics.secret.is_none());
    let start = Start::new()
        .file("key", "from the file\n")
        .env("SOCKD_METRICS__SECRET_FILE", "key")
        .env("SOCKD_METRICS__PUBLIC", "true");
    let metrics = start.config().metrics;
    assert_eq!(metrics.secret.expect("a secret").expose(), "from the file");
    assert!(metrics.public);
    let start = Start::new().env("SOCKD_METRICS__SECRET_FILE", "no.key");
    assert_eq!(
        start.problems(),
        "environment SOCKD_METRICS__SECRET_FILE: metrics.secret_file: \"no.key\" not found; \
         create it or set SOCKD_METRICS__SECRET"
    );
}

#[test]
fn a_secret_that_no_header_carries_is_a_mistake_where_callers_send_it() {
    const REMEDY: &str = "so no caller can send it in an Authorization header; remove that, or \
                          make another secret with `openssl rand -hex 32`";
    let start = Start::bare()
        .file("spaced", " spaced\n")
        .file("lines", "one\ntwo\n")
        .env("JWT_SECRET", JWT_SECRET)
        .toml(
            "[internal]\nsecret = \"bell\\u0007\"\n\
             previous_secret_files = [\"missing\", \"spaced\", \"lines\"]\n\
             [metrics]\nsecret_file = \"lines\"\n",
        );
    let problems = start.problems();
    let lines: Vec<_> = problems.lines().collect();
    let files = "sockd.toml:3:1: internal.previous_secret_files:";
    assert_eq!(
        lines,
        [
            format!(
                "sockd.toml:2:1: internal.secret: the secret has a control character, {REMEDY}"
            ),
            format!("{files} \"missing\" not found; create it or take it off the list"),
            format!("{files} secret 2 begins or ends with whitespace, {REMEDY}"),
            format!("{files} secret 3 has a line break, {REMEDY}"),
            format!("sockd.toml:5:1: metrics.secret_file: the secret has a line break, {REMEDY}"),
        ]
    );
    let start = Start::bare()
        .env("JWT_SECRET", JWT_SECRET)
        .env("AUTH_TOKEN", "token\n");
    let expected =
        format!("environment AUTH_TOKEN: internal.secret: the secret has a line break, {REMEDY}");
    assert_eq!(start.problems(), expected);
    let start = Start::new().toml("[internal]\nprevious_secrets = [\"a\", \"b\\u007f\"]\n");
    let expected = format!(
        "sockd.toml:2:1: internal.previous_secrets: secret 2 has a control character, {REMEDY}"
    );
    assert_eq!(start.problems(), expected);
}

#[test]
fn a_name_and_its_file_go_together_before_the_next_name() {
    let start = Start::bare()
        .env("JWT_SECRET", JWT_SECRET)
        .file("key", "from the file")
        .env("INTERNAL_SECRET_FILE", "key")
        .env("SECRET_KEY", "somebody else's");
    assert_eq!(exposed(&start.config().internal.secrets), ["from the file"]);
}

#[test]
fn a_stronger_source_may_choose_the_other_way() {
    let start = Start::bare()
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .file("key", "from the file")
        .toml("[auth]\nsecret = \"in the configuration\"")
        .file(".env", "JWT_SECRET=in dotenv\n");
    assert_eq!(exposed(&start.config().auth.secrets), ["in dotenv"]);
    let start = start.env("JWT_SECRET_FILE", "key");
    assert_eq!(exposed(&start.config().auth.secrets), ["from the file"]);
    assert_eq!(start.row("auth.secret"), (None, "default".into()));
    let start = start.env("SOCKD_AUTH__SECRET", "in the own variable");
    assert_eq!(
        exposed(&start.config().auth.secrets),
        ["in the own variable"]
    );
}

#[test]
fn paths_in_the_file_are_relative_to_it() {
    let mut start = Start::bare()
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .file("etc/jwt.key", "beside the file")
        .file("etc/sockd.toml", "[auth]\nsecret_file = \"jwt.key\"");
    start.sources.explicit_file = Some("etc/sockd.toml".into());
    assert_eq!(exposed(&start.config().auth.secrets), ["beside the file"]);
}

#[test]
fn previous_secrets_come_after_the_present_one() {
    let start = Start::new()
        .file("old", "old\n")
        .toml("[auth]\nprevious_secrets = [\"a, with a comma\", \"b\"]\n[internal]\nprevious_secret_files = [\"old\"]");
    let config = start.config();
    assert_eq!(
        exposed(&config.auth.secrets),
        [JWT_SECRET, "a, with a comma", "b"]
    );
    assert_eq!(exposed(&config.internal.secrets), [INTERNAL_SECRET, "old"]);
    let config = start.env("SOCKD_AUTH__PREVIOUS_SECRETS", "c, d,").config();
    assert_eq!(exposed(&config.auth.secrets), [JWT_SECRET, "c", "d"]);
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let start = Start::bare()
        .env("JWT_SECRET", "hunter2-env")
        .env("SECRET_KEY", "hunter2-key")
        .env("SOCKD_REDIS__URL", "redis://user:hunter2-url@redis:6379/1")
        .file(".env", "REDIS_PASS=hunter2-dotenv")
        .toml(
            "[auth]\nprevious_secrets = [\"hunter2-old\"]\n[internal]\nsecret = \"hunter2-file\"",
        );
    let settings = start.settings();
    let loaded = start.loaded();
    let printed = format!("{settings:?}{:?}{loaded:?}", settings.rows());
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(
        !printed.contains("68, 75, 6e") && !printed.contains("104, 117"),
        "{printed}"
    );
    assert_eq!(start.row("auth.secret").0.as_deref(), Some("(redacted)"));
    assert_eq!(
        start.row("redis.url").0.as_deref(),
        Some("redis://user:(redacted)@redis:6379/1")
    );

    let start = start
        .env("SOCKD_AUTH__SECRET_FILE", "hunter.key")
        .env("SOCKD_AUTH__SECRET", "hunter2-own")
        .env("SOCKD_REDIS__URL", "redis://:hunter2#url@redis")
        .env("SOCKD_SERVER__PORT", "x");
    let problems = start.problems();
    assert!(!problems.contains("hunter2"), "{problems}");
    assert_eq!(problems.lines().count(), 3, "{problems}");
}
