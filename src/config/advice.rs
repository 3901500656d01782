//! Warnings about configurations that work, but probably not as intended.

use url::Url;

use super::{Algorithm, Auth, Config, Cors, Problem, Topology, jwks::is_hmac};
use crate::secret::Secret;

const ALGORITHMS: &str = "auth.algorithms";
/// The shortest HMAC key for HS256, in bytes (RFC 7518, section 3.2).
const MIN_HMAC_KEY: usize = 32;

/// Returns the warnings; none of them keeps the server from starting.
pub(super) fn warnings(config: &Config) -> Vec<Problem> {
    let mut warnings = Vec::new();
    algorithms(&config.auth, &mut warnings);
    hmac_keys(&config.auth, &mut warnings);
    odd_secrets(config, &mut warnings);
    origins(&config.cors, &mut warnings);
    times_and_sizes(config, &mut warnings);
    proxies(config, &mut warnings);
    warnings
}

fn algorithms(auth: &Auth, warnings: &mut Vec<Problem>) {
    for name in &auth.algorithms {
        if is_known(name) {
            continue;
        }
        let upper = name.to_uppercase();
        let remedy = if name.eq_ignore_ascii_case("none") {
            "unsigned tokens are never accepted; remove it".to_owned()
        } else if name.eq_ignore_ascii_case("ES512") {
            "it is not supported; sign with ES256 or ES384, and a key on P-256 or P-384".to_owned()
        } else if is_known(&upper) {
            format!("names are case-sensitive; write {upper}")
        } else {
            "write for example HS256, RS256, PS256, ES256 or EdDSA".to_owned()
        };
        let found = format_args!("{name:?} verifies nothing");
        warnings.push(Problem::new(ALGORITHMS, found, remedy));
    }
    let known = auth.algorithms.iter().filter(|name| is_known(name));
    let hmac: Vec<bool> = known.map(|name| is_hmac(name)).collect();
    let listed = auth.algorithms.join(", ");
    if auth.jwks.is_some() {
        let mut idle = |what: &str, remedy: &str| {
            let found =
                format_args!("none of {listed} can use {what}, so that it verifies nothing");
            warnings.push(Problem::new(ALGORITHMS, found, remedy));
        };
        if !hmac.contains(&false) {
            idle(
                "the key set",
                "list RS256, PS256, ES256 or EdDSA, or leave auth.algorithms out",
            );
        }
        if !auth.secrets.is_empty() && !hmac.contains(&true) {
            idle("auth.secret", "list HS256 too, or remove the secret");
        }
        return;
    }
    let Some(secret) = auth.secrets.first() else {
        return;
    };
    let (key, fitting) = if secret.is_pem() {
        ("a PEM key", "RS256, PS256, ES256 or EdDSA")
    } else {
        ("no PEM key", "HS256")
    };
    if !hmac.contains(&!secret.is_pem()) {
        let found = format_args!(
            "auth.secret is {key}, which none of {listed} can use, so every token is refused"
        );
        let remedy = format_args!("list {fitting}");
        warnings.push(Problem::new(ALGORITHMS, found, remedy));
    }
}

fn hmac_keys(auth: &Auth, warnings: &mut Vec<Problem>) {
    if !auth.algorithms.iter().any(|name| is_hmac(name)) {
        return;
    }
    for (name, secret) in named_secrets("auth", &auth.secrets) {
        if !secret.is_pem() && secret.expose().len() < MIN_HMAC_KEY {
            let found = format_args!(
                "shorter than the {MIN_HMAC_KEY} bytes that RFC 7518 asks of an HMAC key, so tokens \
                 can be forged by guessing"
            );
            let remedy = "make one with `openssl rand -hex 32`";
            warnings.push(Problem::new(name, found, remedy));
        }
    }
}

/// Warns about secrets with extra characters that the other side probably does not have.
fn odd_secrets(config: &Config, warnings: &mut Vec<Problem>) {
    for (name, secret) in secrets(config) {
        let is_bearer = name.starts_with("internal.") || name.starts_with("metrics.");
        let oddity = oddity(secret).or_else(|| is_bearer.then(|| beyond_ascii(secret))?);
        if let Some((oddity, remedy)) = oddity {
            let found = format_args!("the secret {oddity}");
            warnings.push(Problem::new(name, found, remedy));
        }
    }
}

/// Returns what looks accidental in a secret, and the remedy.
fn oddity(secret: &Secret) -> Option<(&'static str, &'static str)> {
    const QUOTES: [char; 3] = ['"', '\'', '`'];
    let text = secret.expose();
    let is_quoted = |quote: &char| {
        let inner = text.trim().strip_prefix(*quote);
        inner.is_some_and(|inner| inner.ends_with(*quote))
    };
    if text.starts_with('\u{feff}') {
        return Some((
            "begins with a byte order mark",
            "save the file as UTF-8 without one",
        ));
    }
    if QUOTES.iter().any(is_quoted) {
        return Some((
            "includes quotes around it",
            "remove them where it is set: `docker --env-file` and Kubernetes keep them",
        ));
    }
    if secret.is_pem() {
        return None;
    }
    if text.ends_with(['\n', '\r']) || text.ends_with("\\n") {
        return Some((
            "ends with a line break",
            "remove it where it is set: `echo -n` and `printf %s` write none",
        ));
    }
    if text.trim() != text {
        return Some((
            "begins or ends with whitespace",
            "remove it where it is set",
        ));
    }
    let is_long = text.contains(['\n', '\r']);
    is_long.then_some(("has more than one line", "leave only the secret"))
}

/// Of a secret that is sent in a header.
fn beyond_ascii(secret: &Secret) -> Option<(&'static str, &'static str)> {
    (!secret.expose().is_ascii()).then_some((
        "has characters beyond ASCII, which many HTTP libraries do not send as UTF-8, or at all",
        "make another with `openssl rand -hex 32`",
    ))
}

fn origins(cors: &Cors, warnings: &mut Vec<Problem>) {
    let origins = match cors {
        Cors::Any => &[][..],
        Cors::One(origin) => std::slice::from_ref(origin),
        Cors::List(origins) => origins,
    };
    for origin in origins {
        if let Some(remedy) = mend_origin(origin) {
            let found = format_args!("no browser sends the origin {origin:?}");
            warnings.push(Problem::new("cors.origin", found, remedy));
        }
    }
}

/// Returns the remedy for an origin that no browser sends. Origins are compared as strings, in the
/// form in which browsers serialise them
/// (<https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin>).
fn mend_origin(origin: &str) -> Option<String> {
    let remedy = match origin {
        "null" => return None,
        "*" => "`*` alone stands for any and in a list for nothing: remove it or the others",
        _ if origin.contains('*') => {
            "a `*` matches nothing inside an origin: list each origin, or write `*` alone for any"
        }
        _ if !origin.contains("://") => "an origin begins with http:// or https://",
        _ => match Url::parse(origin).ok().as_ref().map(serialized) {
            Some(Some(serialized)) if serialized == origin => return None,
            Some(Some(serialized)) => return Some(format!("write {serialized:?}")),
            Some(None) => "pages without a host have the origin \"null\"",
            None => "write a scheme, a host and, unless it is the scheme's own, a port",
        },
    };
    Some(remedy.to_owned())
}

/// Returns the origin of a page at this URL; `None` without a host.
fn serialized(url: &Url) -> Option<String> {
    let host = url.host_str()?.to_lowercase();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let scheme = match url.scheme() {
        // The origin is that of the page, not of the socket it opens.
        "ws" => "http",
        "wss" => "https",
        scheme => scheme,
    };
    Some(format!("{scheme}://{host}{port}"))
}

fn times_and_sizes(config: &Config, warnings: &mut Vec<Problem>) {
    let server = &config.server;
    if server.drain_window >= server.shutdown_timeout {
        let found = "not shorter than server.shutdown_timeout, so the process ends before all \
                     connections were closed in order";
        warnings.push(Problem::new("server.drain_window", found, "shorten it"));
    }
    if config.limits.inbound_burst < config.socketio.max_payload {
        let found = "less than socketio.max_payload, so a client that sends a message of the \
                     allowed length is closed";
        warnings.push(Problem::new("limits.inbound_burst", found, "raise it"));
    }
}

fn proxies(config: &Config, warnings: &mut Vec<Problem>) {
    let (server, internal) = (&config.server, &config.internal);
    if server.proxy_protocol && internal.listen.is_none() {
        let found = "internal routes, health and metrics share the port, so backends, probes and \
                     sockd's own commands are closed unless they send the header too";
        let place = "server.proxy_protocol";
        warnings.push(Problem::new(place, found, "set internal.listen"));
    }
    if internal.proxy_protocol && internal.listen.is_none() {
        let found = "changes nothing without internal.listen";
        let place = "internal.proxy_protocol";
        warnings.push(Problem::new(place, found, "set that, or remove it"));
    }
    let trusted = server.trusted_proxies.iter().flatten();
    for network in trusted.filter(|network| network.prefix_len() == 0) {
        let found = format_args!("{network} is every address, so any client can say where it is");
        let remedy = "list the proxies' own addresses";
        warnings.push(Problem::new("server.trusted_proxies", found, remedy));
    }
}

fn is_known(algorithm: &str) -> bool {
    algorithm.parse::<Algorithm>().is_ok()
}

/// Returns the secrets of a section, each with the name of its setting.
pub fn named_secrets<'a>(
    section: &'static str,
    secrets: &'a [Secret],
) -> impl Iterator<Item = (String, &'a Secret)> {
    secrets.iter().enumerate().map(move |(index, secret)| {
        let name = match index {
            0 => format!("{section}.secret"),
            _ => format!("{section}.previous_secrets, entry {index}"),
        };
        (name, secret)
    })
}

/// Returns all secrets, each with the name of its setting.
pub(super) fn secrets(config: &Config) -> impl Iterator<Item = (String, &Secret)> {
    let redis = config.redis.as_ref();
    let password = redis.and_then(|redis| redis.password.as_ref());
    let sentinel_password = redis.and_then(|redis| match &redis.topology {
        Topology::Sentinel(sentinel) => sentinel.password.as_ref(),
        _ => None,
    });
    let others = [
        ("metrics.secret", config.metrics.secret.as_ref()),
        ("redis.password", password),
        ("redis.sentinel_password", sentinel_password),
    ];
    let others = others.into_iter();
    named_secrets("auth", &config.auth.secrets)
        .chain(named_secrets("internal", &config.internal.secrets))
        .chain(others.filter_map(|(name, secret)| Some((name.to_owned(), secret?))))
}
