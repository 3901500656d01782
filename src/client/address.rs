//! Where a node is.

use std::path::PathBuf;

use reqwest::Url;

use super::ClientError;
use crate::wire::unix_path;

/// A URL or a unix socket.
pub(super) struct Address {
    /// For people.
    pub(super) shown: String,
    /// With a slash at the end of its path, so that routes can be appended.
    pub(super) base: Url,
    /// The unix socket to connect to; the host of the URL is then ignored.
    pub(super) socket: Option<PathBuf>,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, ClientError> {
        let invalid = || ClientError::Url(redacted(text));
        let trimmed = text.trim();
        let socket = unix_path(trimmed).map(PathBuf::from);
        let url = match socket {
            // A node with `--dev` accepts only requests to this machine.
            Some(_) => "http://localhost/",
            None => trimmed,
        };
        let mut base = Url::parse(url).map_err(|_| invalid())?;
        let is_plain = base.username().is_empty()
            && base.password().is_none()
            && base.query().is_none()
            && base.fragment().is_none();
        if !is_plain || !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(invalid());
        }
        // With port 0 the system chooses, and only the log of the server says which.
        if base.port() == Some(0) {
            return Err(invalid());
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let shown = match &socket {
            Some(path) => format!("unix:{}", path.display()),
            None => base.as_str().trim_end_matches('/').to_owned(),
        };
        Ok(Self {
            shown,
            base,
            socket,
        })
    }
}

/// The URL without a user and password before its host.
fn redacted(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}://…{}", &url[..scheme], &url[at..])
        }
        _ => url.to_owned(),
    }
}
