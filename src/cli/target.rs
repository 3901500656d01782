//! Which node a command calls, and with which secret.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::{Context, failure::Failure, input::read_secret};
use crate::{
    client::{Client, Tls, Way},
    config::{ClientTls, Endpoint, Problems, Settings},
};

/// The options of all commands that call a node.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The node's address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock
    /// [default: SOCKD_URL, else where the configuration has the internal routes]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,

    /// A file with the secret for the internal API, - for stdin [default: the configured secret]
    #[arg(long, value_name = "PATH")]
    pub(super) secret_file: Option<PathBuf>,

    /// Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name,
    /// not directly
    #[arg(long)]
    pub(super) proxy: bool,

    /// Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands
    /// [default: as configured, but not with --url or SOCKD_URL]
    #[arg(long, conflicts_with = "proxy")]
    pub(super) proxy_protocol: bool,
}

impl Target {
    /// Whether the secret comes from stdin, so that nothing else can.
    pub(super) fn uses_stdin(&self) -> bool {
        self.secret_file.as_deref() == Some(Path::new("-"))
    }

    /// # Errors
    /// The secret or the address is neither given nor configured, or is invalid.
    pub(super) fn client(&self, context: &Context) -> Result<Client, Failure> {
        self.client_at(context, Settings::endpoint)
    }

    /// A client of the node, if mistakes in the configuration leave that to be found.
    ///
    /// # Errors
    /// The secret or the address is neither given nor configured, or is invalid.
    pub(super) fn client_despite_mistakes(&self, context: &Context) -> Result<Client, Failure> {
        self.client_at(context, Settings::endpoint_despite_mistakes)
    }

    fn client_at(
        &self,
        context: &Context,
        endpoint: fn(&Settings, Option<String>) -> Result<Endpoint, Problems>,
    ) -> Result<Client, Failure> {
        let given_url = self.url.clone().or_else(|| context.variable("SOCKD_URL"));
        let given_secret = self.secret_file.as_deref().map(read_secret).transpose()?;
        // With both given, the configuration is not read and may even be invalid.
        let (url, secrets, tls, way) = match (given_url, given_secret) {
            (Some(url), Some(secret)) => {
                let tls = despite_mistakes(context, &url);
                (url, vec![secret], tls, self.way(false))
            }
            (url, secret) => {
                let Endpoint {
                    url,
                    proxy_protocol,
                    secrets,
                    tls,
                    ..
                } = endpoint(&context.settings(Vec::new())?, url)?;
                let secrets = secret.map_or(secrets, |secret| vec![secret]);
                (url, secrets, tls, self.way(proxy_protocol))
            }
        };
        if secrets.is_empty() {
            return Err(no_secret());
        }
        Ok(Client::new(&url, &secrets, way, &read(&tls)?)?)
    }

    /// The address that clients connect to, how to get there, and what to trust there.
    ///
    /// # Errors
    /// It is not given, and the configuration has mistakes; or the files for TLS cannot be read.
    pub(super) fn clients_url(&self, context: &Context) -> Result<(String, Way, Tls), Failure> {
        let (url, way, tls) = match &self.url {
            Some(url) => (url.clone(), self.way(false), despite_mistakes(context, url)),
            None => {
                let Endpoint {
                    clients,
                    clients_proxy_protocol,
                    tls,
                    ..
                } = context.settings(Vec::new())?.endpoint(None)?;
                (clients, self.way(clients_proxy_protocol), tls)
            }
        };
        Ok((url, way, read(&tls)?))
    }

    /// How a node is reached whose configuration may demand a header of the PROXY protocol.
    fn way(&self, proxy_protocol: bool) -> Way {
        match (self.proxy, self.proxy_protocol || proxy_protocol) {
            (true, _) => Way::EnvironmentProxy,
            (false, true) => Way::WithProxyHeader,
            (false, false) => Way::Direct,
        }
    }
}

/// How to speak TLS with the node at a URL that is given, if the configuration says so. It may have
/// mistakes: the command does not depend on it.
fn despite_mistakes(context: &Context, url: &str) -> ClientTls {
    if !url.trim_start().starts_with("https:") {
        return ClientTls::default();
    }
    let settings = context.settings(Vec::new()).ok();
    let endpoint = settings.and_then(|settings| {
        settings
            .endpoint_despite_mistakes(Some(url.to_owned()))
            .ok()
    });
    endpoint.map_or_else(ClientTls::default, |endpoint| endpoint.tls)
}

fn read(tls: &ClientTls) -> Result<Tls, Failure> {
    Ok(Tls::read(
        tls.authorities.as_deref(),
        tls.identity.as_ref(),
    )?)
}

fn no_secret() -> Failure {
    let error = anyhow!(
        "no secret for the internal API; set INTERNAL_SECRET, or name a file that holds it with --secret-file"
    );
    Failure::usage(error)
}
