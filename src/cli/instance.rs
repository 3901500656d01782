//! Which running instance a command calls, and with which secret.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::Args;

use super::{Context, failure::Failure};
use crate::{
    client::{Client, Way},
    config,
    secret::Secret,
};

/// The options of all commands that call a running instance.
#[derive(Debug, Args)]
pub(super) struct Instance {
    /// The instance's address, such as http://127.0.0.1:3000 [default: SOCKD_URL, else the
    /// configured host and port]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,

    /// A file that holds the secret for the internal API, - for stdin [default: the configured
    /// secret]
    #[arg(long, value_name = "PATH")]
    pub(super) secret_file: Option<PathBuf>,

    /// Call the instance through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name;
    /// without this it is called directly
    #[arg(long)]
    pub(super) proxy: bool,
}

impl Instance {
    /// Whether the secret comes from stdin, which then holds nothing else.
    pub(super) fn uses_stdin(&self) -> bool {
        self.secret_file.as_deref() == Some(Path::new("-"))
    }

    /// # Errors
    /// A secret or an address that is neither given nor configured, or cannot be used.
    pub(super) fn client(&self, context: &Context) -> Result<Client, Failure> {
        let given_url = self.url.clone().or_else(|| context.variable("SOCKD_URL"));
        let given_secret = self.secret_file.as_deref().map(read_secret).transpose()?;
        // With both given, a configuration has no say, and need not even be a good one.
        let (url, secret) = match (given_url, given_secret) {
            (Some(url), Some(secret)) => (url, secret),
            (url, secret) => {
                let config::Client {
                    url: listening,
                    secret: configured,
                } = context.settings(Vec::new())?.client()?;
                let secret = secret.or(configured).ok_or_else(no_secret)?;
                (url.unwrap_or(listening), secret)
            }
        };
        let way = if self.proxy {
            Way::EnvironmentProxy
        } else {
            Way::Direct
        };
        Ok(Client::new(&url, &secret, way)?)
    }
}

fn no_secret() -> Failure {
    let error = anyhow!(
        "no secret for the internal API; set INTERNAL_SECRET or name a file that holds it by --secret-file"
    );
    Failure::usage(error)
}

/// A secret from a file or stdin, without the line break that editors put at its end.
pub(super) fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let mut text = read_text(path).map_err(Failure::usage)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    text.truncate(line.strip_suffix('\r').unwrap_or(line).len());
    if text.is_empty() {
        let error = anyhow!("{} holds no secret; write it there", path.display());
        return Err(Failure::usage(error));
    }
    Ok(Secret::new(text))
}

/// The text of a file, or of stdin for `-`.
pub(super) fn read_text(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .context("stdin cannot be read; pipe UTF-8 text into it")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| {
        format!(
            "{} cannot be read; give a file of UTF-8 text",
            path.display()
        )
    })
}
