//! How a node is reached over HTTP.

use reqwest::{ClientBuilder, Url, redirect};

use super::Tls;
use crate::wire::is_loopback;

/// How to connect to the node. The proxies of the environment are mostly meant for the internet, and
/// should not see the secret, so they are used only on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Direct,
    /// Each connection begins with a header of the PROXY protocol, as the node's listener demands.
    WithProxyHeader,
    /// Through the proxy in `http_proxy`, `https_proxy` or `all_proxy`, in lower or upper case, except
    /// for hosts in `no_proxy`. A node on this machine is always called directly.
    EnvironmentProxy,
}

impl Way {
    /// An HTTP client for this URL, which carries a secret or a token.
    pub fn client(self, url: &Url, tls: &Tls) -> ClientBuilder {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sockd/", env!("CARGO_PKG_VERSION")))
            // A redirect could carry the secret to a stranger.
            .redirect(redirect::Policy::none());
        if self != Self::EnvironmentProxy || is_loopback(url) {
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // Plain HTTP must work where no CA certificates are installed.
            return builder.tls_certs_only([]);
        }
        tls.apply(builder)
    }
}
