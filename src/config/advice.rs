//! What a configuration says that works, but hardly as it was meant.

use super::{Algorithm, Auth, Config, Cors};
use crate::secret::Secret;

/// The shortest HMAC key for HS256, in bytes (RFC 7518, section 3.2).
const MIN_HMAC_KEY: usize = 32;

/// A sentence for each oddity; none of them keeps the server from starting.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    algorithms(&config.auth, &mut warnings);
    hmac_keys(&config.auth, &mut warnings);
    origins(&config.cors, &mut warnings);
    times_and_sizes(config, &mut warnings);
    warnings
}

fn algorithms(auth: &Auth, warnings: &mut Vec<String>) {
    for name in &auth.algorithms {
        if name.parse::<Algorithm>().is_ok() {
            continue;
        }
        let upper = name.to_uppercase();
        let remedy = if name.eq_ignore_ascii_case("none") {
            "unsigned tokens are never accepted; remove it".to_owned()
        } else if upper.parse::<Algorithm>().is_ok() {
            format!("names are case-sensitive; write {upper}")
        } else {
            "write for example HS256, RS256, PS256, ES256 or EdDSA".to_owned()
        };
        warnings.push(format!(
            "auth.algorithms: {name:?} verifies nothing; {remedy}"
        ));
    }
    let Some(secret) = auth.secrets.first() else {
        return;
    };
    let is_hmac: Vec<bool> = known(auth).map(Algorithm::is_hmac).collect();
    let (key, fitting) = if is_pem(secret) {
        ("a PEM key", "RS256, PS256, ES256 or EdDSA")
    } else {
        ("no PEM key", "HS256")
    };
    if !is_hmac.contains(&!is_pem(secret)) {
        warnings.push(format!(
            "auth.algorithms: auth.secret is {key}, which none of {} can use, so every token is \
             refused; list {fitting}",
            auth.algorithms.join(", ")
        ));
    }
}

fn hmac_keys(auth: &Auth, warnings: &mut Vec<String>) {
    if !known(auth).any(Algorithm::is_hmac) {
        return;
    }
    for (index, secret) in auth.secrets.iter().enumerate() {
        if !is_pem(secret) && secret.expose().len() < MIN_HMAC_KEY {
            let name = match index {
                0 => "auth.secret".to_owned(),
                _ => format!("auth.previous_secrets, entry {index}"),
            };
            warnings.push(format!(
                "{name}: shorter than the {MIN_HMAC_KEY} bytes that RFC 7518 asks of an HMAC key, \
                 so tokens can be forged by guessing; make one with `openssl rand -hex 32`"
            ));
        }
    }
}

fn origins(cors: &Cors, warnings: &mut Vec<String>) {
    let origins = match cors {
        Cors::Any => &[][..],
        Cors::One(origin) => std::slice::from_ref(origin),
        Cors::List(origins) => origins,
    };
    for origin in origins {
        let rest = origin.split_once("://").map(|(_, rest)| rest);
        let remedy = match rest {
            _ if origin == "*" => {
                "alone it stands for any, in a list for nothing; remove it or the others"
            }
            Some(rest) if rest.contains('/') => "an origin has no path and no slash at its end",
            None if origin != "null" => "an origin begins with http:// or https://",
            _ => continue,
        };
        warnings.push(format!(
            "cors.origin: {origin:?} is no browser's origin; {remedy}"
        ));
    }
}

fn times_and_sizes(config: &Config, warnings: &mut Vec<String>) {
    let server = &config.server;
    if server.drain_window >= server.shutdown_timeout {
        warnings.push(
            "server.drain_window: not shorter than server.shutdown_timeout, so the process ends \
             before all connections were closed in order; shorten it"
                .to_owned(),
        );
    }
    if config.sessions.ttl <= config.sessions.sweep_interval {
        warnings.push(
            "sessions.ttl: not longer than sessions.sweep_interval, which renews it, so sessions \
             end under live sockets; lengthen it"
                .to_owned(),
        );
    }
    if config.limits.inbound_burst < config.socketio.max_payload {
        warnings.push(
            "limits.inbound_burst: less than socketio.max_payload, so a client that sends a \
             message of the allowed length is closed; raise it"
                .to_owned(),
        );
    }
}

fn known(auth: &Auth) -> impl Iterator<Item = Algorithm> {
    auth.algorithms.iter().filter_map(|name| name.parse().ok())
}

fn is_pem(secret: &Secret) -> bool {
    secret.expose().trim_start().starts_with("-----BEGIN ")
}
