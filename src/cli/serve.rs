//! `sockd serve`: runs the gateway.

mod dev;

use anyhow::anyhow;
use clap::Args;

use super::{Context, config::servable, failure::Failure};
use crate::{
    config::{Flag, Loaded, load},
    http::Dev,
    server::{Addresses, Server},
    telemetry,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sockd serve
  sockd serve --dev
  sockd serve --port 8080 --redis-url redis://127.0.0.1:6379

Exit codes:
  0  stopped by SIGTERM or SIGINT
  1  failed, for example because the port is taken
  2  usage or configuration")]
pub(super) struct ServeArgs {
    /// Try it out: reads no configuration, generates secrets for this run, keeps sessions in
    /// memory, and prints the commands to paste next
    #[arg(long, conflicts_with = "redis_url")]
    dev: bool,

    /// The address to listen on; :: means all IPv4 and IPv6 addresses
    #[arg(long)]
    host: Option<String>,

    /// The port to listen on; 0 lets the system choose
    #[arg(long)]
    port: Option<u16>,

    /// Where to serve internal routes, health and metrics apart from the clients, such as
    /// 127.0.0.1:3001 or unix:/run/sockd/internal.sock
    #[arg(long, value_name = "ADDRESS")]
    internal_listen: Option<String>,

    /// The Redis that stores sessions and connects nodes; put a password in REDIS_PASS or
    /// redis.password_file, since ps shows flags
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,

    /// What to log, such as info or info,sockd=debug
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// The format of the log
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
            flag(
                "--internal-listen",
                "internal.listen",
                &self.internal_listen,
            ),
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
        // clap misses the conflict if --config comes before `serve`.
        if context.config.is_some() {
            let error = anyhow!("--dev reads no configuration; leave out --dev or --config");
            return Err(Failure::usage(error));
        }
        return dev::run(args.flags()).await;
    }
    let sources = context.sources(args.flags())?;
    let loaded = servable(&load(&sources)?)?;
    let Loaded {
        config, warnings, ..
    } = &loaded;
    telemetry::init(&config.log).map_err(Failure::usage)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if config.redis.is_none() {
        tracing::warn!(
            "sessions are kept in memory: lost on restart and not shared with other nodes; set redis.url to keep them"
        );
    }
    let no_page: Option<fn(&Addresses) -> Dev> = None;
    Server::bind(loaded, sources, no_page).await?.run().await;
    Ok(())
}
