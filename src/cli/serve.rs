//! `sockd serve`: run the gateway.

mod dev;

use anyhow::anyhow;
use clap::Args;

use super::{Context, config::servable, failure::Failure};
use crate::{
    config::{Flag, Loaded},
    server::Server,
    telemetry,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sockd serve
  sockd serve --dev
  sockd serve --port 8080 --redis-url redis://127.0.0.1:6379

Exit codes:
  0  ended by SIGTERM or SIGINT
  1  failed: the port is taken, for one
  2  usage or configuration")]
pub(super) struct ServeArgs {
    /// Try it out: no configuration is read, secrets are made for this run, sessions stay in
    /// memory, and the terminal shows what to paste next
    #[arg(long, conflicts_with = "redis_url")]
    dev: bool,

    /// The address to listen on; :: is all of IPv4 and IPv6
    #[arg(long)]
    host: Option<String>,

    /// The port to listen on; 0 lets the system choose
    #[arg(long)]
    port: Option<u16>,

    /// Where sessions are kept and other nodes are met; a password belongs into REDIS_PASS or
    /// redis.password_file, since ps shows flags
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,

    /// What is logged, such as info or info,sockd=debug
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// How it is logged
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
}

impl ServeArgs {
    fn flags(&self) -> Vec<Flag> {
        let flag = |name, key, value: &Option<String>| {
            let value = value.clone()?;
            Some(Flag { name, key, value })
        };
        let port = self.port.map(|port| port.to_string());
        [
            flag("--host", "server.host", &self.host),
            flag("--port", "server.port", &port),
            flag("--redis-url", "redis.url", &self.redis_url),
            flag("--log-level", "log.level", &self.log_level),
            flag("--log-format", "log.format", &self.log_format),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

pub(super) async fn run(args: ServeArgs, context: &Context) -> Result<(), Failure> {
    if args.dev {
        // clap does not see the conflict when --config stands before `serve`.
        if context.config.is_some() {
            let error = anyhow!("--dev reads no configuration; leave out --dev or --config");
            return Err(Failure::usage(error));
        }
        return dev::run(args.flags()).await;
    }
    let settings = context.settings(args.flags())?;
    let Loaded { config, warnings } = servable(&settings)?;
    telemetry::init(&config.log).map_err(Failure::usage)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    if config.redis.is_none() {
        tracing::warn!(
            "sessions are kept in the memory of this process: forgotten when it restarts, shared with no other; set redis.url to keep them"
        );
    }
    Server::bind(config, None).await?.run().await?;
    Ok(())
}
