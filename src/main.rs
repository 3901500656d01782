//! The `sockd` binary: parses the command line, runs the command and exits.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use sockd::{
    cli::{Cli, cannot_start},
    telemetry::LastLines,
};
use tikv_jemallocator::Jemalloc;
use tokio::runtime::{Builder, Runtime};

// Keeps the memory per idle socket low and steady; other allocators fragment or round up. Its background
// threads return freed memory to the system even when the process is idle.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _last_lines = LastLines;
    match runtime(&cli) {
        Ok(runtime) => {
            let code = runtime.block_on(cli.run());
            // A thread that is blocked on stdin must not delay the exit.
            runtime.shutdown_background();
            code
        }
        Err(error) => cannot_start(error),
    }
}

fn runtime(cli: &Cli) -> anyhow::Result<Runtime> {
    let mut builder = if cli.serves() {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    builder
        .enable_all()
        .build()
        .context("failed to start the async runtime; see the limits of this user (ulimit -u)")
}
