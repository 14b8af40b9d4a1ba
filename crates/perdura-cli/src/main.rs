//! The `perdura` command.

mod demo;
mod escape;
mod inspect;
mod serve;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A durable execution engine: async functions that survive crashes, deploys and restarts.
#[derive(Parser)]
#[command(name = "perdura", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Archive a directory with a durable pipeline that is killed half-way and goes on.
    Demo(demo::Options),
    /// Print what a hub file holds. The engine need not run, and may.
    Inspect(inspect::Options),
    /// Serve workers and clients in other languages: the DurableTask gRPC protocol, which the official SDKs speak.
    Serve(serve::ServeOptions),
    /// Like serve, for a developer's machine: on the ports that SDKs and the DTS emulator use, with a temporary store.
    Dev(serve::DevOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match Cli::parse().command {
        Command::Demo(options) => demo::run(options).await,
        Command::Inspect(options) => inspect::run(options).await,
        Command::Serve(options) => serve::serve(options).await,
        Command::Dev(options) => serve::dev(options).await,
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("perdura: {error:#}");
            ExitCode::FAILURE
        }
    }
}
