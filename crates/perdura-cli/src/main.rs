//! The `perdura` command.

mod demo;
mod escape;
mod inspect;

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
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("perdura: {error:#}");
            ExitCode::FAILURE
        }
    }
}
