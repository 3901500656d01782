//! Where the key set is, and which algorithms go with it.

use crate::config::JwksSource;

use super::*;

const URL: &str = "SOCKD_AUTH__JWKS_URL";

/// With a key set instead of JWT_SECRET.
fn start() -> Start {
    Start::bare()
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .env(URL, "https://auth.example.com/jwks.json")
}

const ASYMMETRIC: &str = "RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA";

#[test]
fn a_key_set_needs_no_secret_and_brings_its_algorithms() {
    let auth = start().config().auth;
    assert!(auth.secrets.is_empty());
    assert_eq!(auth.algorithms.join(","), ASYMMETRIC);
    let jwks = auth.jwks.expect("a key set");
    assert_eq!(
        jwks.source.to_string(),
        "https://auth.example.com/jwks.json"
    );
    assert_eq!(jwks.refresh_interval.as_secs(), 300);
    let both = start().env("JWT_SECRET", JWT_SECRET);
    let with_hmac = format!("HS256,{ASYMMETRIC}");
    assert_eq!(both.config().auth.algorithms.join(","), with_hmac);
    // What is shown is what holds.
    let row = |start: &Start| start.row("auth.algorithms").0;
    assert_eq!(row(&start()).as_deref(), Some(ASYMMETRIC));
    assert_eq!(row(&both), Some(with_hmac));
    assert_eq!(row(&Start::new()).as_deref(), Some("HS256"));
    let listed = start().env("JWT_ALGORITHMS", "ES256,EdDSA");
    assert_eq!(listed.config().auth.algorithms, ["ES256", "EdDSA"]);
    assert!(Start::new().config().auth.jwks.is_none());
}

#[test]
fn hmac_with_a_key_set_alone_is_a_mistake() {
    for list in ["HS256", "RS256,HS512"] {
        let problems = start().env("JWT_ALGORITHMS", list).problems();
        let expected = "needs auth.secret, as a key set never holds a secret";
        assert!(problems.contains(expected), "{problems}");
        let both = start().env("JWT_SECRET", JWT_SECRET);
        both.env("JWT_ALGORITHMS", list).config();
    }
    // A secret that is to be replaced needs one that replaces it.
    let problems = start()
        .toml("auth.previous_secrets = [\"an-old-secret-of-more-than-32-bytes\"]")
        .problems();
    assert!(problems.starts_with("auth.secret: not set"), "{problems}");
}

#[test]
fn what_verifies_nothing_beside_a_key_set_is_warned_of() {
    let warnings = |algorithms: &str| {
        let both = start().env("JWT_SECRET", JWT_SECRET);
        both.env("JWT_ALGORITHMS", algorithms).warnings()
    };
    assert!(warnings("HS256,RS256").is_empty());
    let told = warnings("HS256").join("\n");
    assert!(told.contains("none of HS256 can use the key set"), "{told}");
    let told = warnings("RS256,EdDSA").join("\n");
    assert!(
        told.contains("none of RS256, EdDSA can use auth.secret"),
        "{told}"
    );
    assert!(start().warnings().is_empty());
}

#[test]
fn keys_come_over_https_or_from_this_machine() {
    for url in [
        "https://auth.example.com",
        "https://10.0.0.1:8443/realms/a/certs?x=y",
        "http://127.0.0.1:8080/jwks.json",
        "http://127.9.9.9/jwks.json",
        "http://[::1]:8080/jwks.json",
        "http://localhost/jwks.json",
    ] {
        start().env(URL, url).config();
    }
    for url in [
        "http://auth.example.com/jwks.json",
        "http://10.0.0.1/jwks.json",
        "http://0.0.0.0/jwks.json",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.1@example.com/",
        "https://user:hunter2@auth.example.com/",
        "https://hunter2@auth.example.com/",
        "https://auth.example.com/#keys",
        "file:///etc/jwks.json",
        "ftp://127.0.0.1/jwks.json",
        "/etc/jwks.json",
        "auth.example.com/jwks.json",
        "https://",
    ] {
        let problems = start().env(URL, url).problems();
        assert!(problems.contains("is not the URL of a key set"), "{url}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn a_file_is_read_beside_the_configuration_and_must_be_there() {
    let bare = || Start::bare().env("INTERNAL_SECRET", INTERNAL_SECRET);
    let file = bare()
        .file("etc/jwks.json", "{}")
        .file("etc/sockd.toml", "auth.jwks_file = \"jwks.json\"")
        .env("SOCKD_CONFIG", "etc/sockd.toml");
    let jwks = file.config().auth.jwks.expect("a key set");
    let expected = file.directory.path().join("etc/jwks.json");
    assert_eq!(jwks.source, JwksSource::File(expected));
    let problems = bare().env("SOCKD_AUTH__JWKS_FILE", "none.json").problems();
    assert!(problems.contains("\"none.json\" not found"), "{problems}");
    // One source may name one place only; a stronger one overrides it.
    let two = "[auth]\njwks_file = \"jwks.json\"\njwks_url = \"https://a.example\"";
    let problems = bare().file("jwks.json", "{}").toml(two).problems();
    assert!(
        problems.contains("auth.jwks_url is given too"),
        "{problems}"
    );
    let config = start().toml("auth.jwks_file = \"none.json\"").config();
    let jwks = config.auth.jwks.expect("a key set");
    assert!(matches!(jwks.source, JwksSource::Url { .. }));
}

#[test]
fn an_authority_is_for_https_only() {
    let ca = |start: Start| {
        let start = start.file("ca.pem", "x");
        start.env("SOCKD_AUTH__JWKS_CA_FILE", "ca.pem")
    };
    let with_url = ca(start()).config().auth.jwks.expect("a key set");
    assert!(matches!(
        with_url.source,
        JwksSource::Url {
            ca_file: Some(_),
            ..
        }
    ));
    let plain = ca(start().env(URL, "http://127.0.0.1/")).problems();
    let none = ca(Start::new()).problems();
    for problems in [plain, none] {
        assert!(problems.contains("used only with an https"), "{problems}");
    }
}

#[test]
fn issuers_and_audiences_are_one_text_or_a_list() {
    let lists = |start: Start| {
        let auth = start.config().auth;
        (auth.issuers, auth.audiences)
    };
    let one =
        lists(Start::new().toml("auth = { issuer = \"https://a.example\", audience = \"x\" }"));
    assert_eq!(
        one,
        (vec!["https://a.example".to_owned()], vec!["x".to_owned()])
    );
    let two = vec!["a".to_owned(), "b".to_owned()];
    let listed =
        lists(Start::new().toml("auth = { issuer = [\"a\", \"b\"], audience = \"a, b\" }"));
    assert_eq!(listed, (two.clone(), two.clone()));
    let by_variable = Start::new()
        .env("SOCKD_AUTH__ISSUER", "a,b")
        .env("SOCKD_AUTH__AUDIENCE", " a , b,");
    assert_eq!(lists(by_variable), (two.clone(), two));
    assert_eq!(lists(Start::new()), (vec![], vec![]));
    let problems = Start::new().toml("auth.issuer = [1]").problems();
    assert!(
        problems.contains("is not a text or a list of texts"),
        "{problems}"
    );
}
