use super::*;

fn client(url: &str) -> Result<Client, ClientError> {
    Client::new(
        url,
        &[Secret::new("s3cret-value".into())],
        Way::Direct,
        &Tls::default(),
    )
}

#[test]
fn routes_are_appended_to_the_path_of_the_url() {
    for (url, expected) in [
        (
            "http://127.0.0.1:3000",
            "http://127.0.0.1:3000/internal/emit",
        ),
        ("http://h/", "http://h/internal/emit"),
        ("https://h/push", "https://h/push/internal/emit"),
        ("http://[::1]:9/a/", "http://[::1]:9/a/internal/emit"),
    ] {
        let endpoint = client(url).unwrap().endpoint("internal/emit");
        assert_eq!(endpoint.as_str(), expected);
    }
}

#[test]
fn a_unix_socket_is_shown_as_it_is_and_called_as_localhost() {
    for url in [
        "unix:/run/s.sock",
        "unix:///run/s.sock",
        " unix:/run/s.sock ",
    ] {
        let client = client(url).unwrap();
        assert_eq!(client.url(), "unix:/run/s.sock");
        let endpoint = client.endpoint("internal/emit");
        assert_eq!(endpoint.as_str(), "http://localhost/internal/emit");
    }
}

#[test]
fn an_invalid_url_is_refused_without_showing_its_password() {
    for url in [
        "",
        "127.0.0.1:3000",
        "localhost:3000",
        "ftp://h",
        "http://",
        "http://h/?x",
        "http://127.0.0.1:0",
        "http://user:hunter2@h",
        "unix:",
        "/run/sockd/internal.sock",
    ] {
        let error = client(url).unwrap_err();
        assert!(matches!(error, ClientError::Url(_)), "{url}: {error}");
        assert!(error.to_string().contains("--url"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_secret_that_cannot_be_a_header_is_refused_and_never_shown() {
    let secret = Secret::new("line\nbreak".into());
    let error = Client::new("http://h", &[secret], Way::Direct, &Tls::default()).unwrap_err();
    assert!(matches!(error, ClientError::Secret(_)));
    assert!(!format!("{error:?} {error}").contains("line\n"));
    let shown = format!("{:?}", client("http://h").unwrap());
    assert!(!shown.contains("s3cret-value"), "{shown}");
}
