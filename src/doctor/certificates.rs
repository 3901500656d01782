//! The certificates that a server would show, and how long they are valid.

use super::Finding;
use crate::{
    config::{Config, Problem, TlsFiles},
    tls::{Loaded, SOON},
};

const CHECK: &str = "certificate";

/// Returns nothing if no listener speaks TLS.
pub(super) fn examine(config: &Config) -> impl Iterator<Item = Finding> {
    let files = [&config.server_tls, &config.internal.tls];
    files.into_iter().flatten().map(examine_files)
}

fn examine_files(files: &TlsFiles) -> Finding {
    let loaded = match Loaded::read(files) {
        Ok(loaded) => loaded,
        Err(error) => {
            let Problem {
                place,
                found,
                remedy,
            } = error.into();
            return Finding::fail(CHECK, format!("{place}: {found}"), remedy);
        }
    };
    let named = format!("{} in {}", files.section, files.certificate.display());
    let renew = "renew it; a running server picks it up within 10 s";
    match (loaded.remains(), loaded.expires_at) {
        (None, None) => Finding::warn(
            CHECK,
            format!("{named}: its expiry date cannot be read"),
            renew,
        ),
        (None, Some(_)) => Finding::fail(
            CHECK,
            format!("{named} has expired, so clients refuse it"),
            renew,
        ),
        (Some(left), _) => {
            let days = left.as_secs() / 86_400;
            let found = format!("{named} is valid for {days} more days");
            match left < SOON {
                true => Finding::warn(CHECK, found, renew),
                false => Finding::ok(CHECK, found),
            }
        }
    }
}
