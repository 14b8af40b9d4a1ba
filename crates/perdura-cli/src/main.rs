//! The `perdura` command.

mod demo;
mod escape;
mod inspect;
mod operate;
mod out;
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
    /// Take instances back to an earlier point of their histories, and on from there.
    Rewind(Box<operate::rewind::Options>),
    /// List instances by a filter: status, name, failure, tag, time. The oldest 100, unless --limit says otherwise.
    List(operate::list::Options),
    /// List the branches of an instance's history: who rewound it, when, why and where to.
    Branches(operate::branches::Options),
    /// Print the history of an instance, of any of its branches.
    History(operate::history::Options),
    /// Show where two branches of a history part.
    Diff(operate::diff::Options),
    /// Say what an instance waits for, since when, who is to answer, and what is missing.
    Why(operate::why::Options),
    /// Stop instances until they are resumed; everything that arrives is kept.
    Suspend(operate::control::ReasonOptions),
    /// Let suspended instances go on.
    Resume(operate::control::ReasonOptions),
    /// Ask instances to end by their own code.
    Cancel(operate::control::ReasonOptions),
    /// End instances by force.
    Terminate(operate::control::TerminateOptions),
    /// Start instances that have ended once more, with what they began with.
    Restart(operate::control::RestartOptions),
    /// Remove instances that have ended, with all branches of their histories.
    Purge(operate::control::PurgeOptions),
    /// Send an instance an external event.
    Raise(operate::control::RaiseOptions),
    /// Tell how to replay stored histories against new code before it is deployed.
    CheckReplay,
    /// Say what follows for an activity that runs at most once, when nobody knows whether it ran. The engine must be
    /// stopped; the instance goes on when it is started.
    Resolve(operate::resolve::Options),
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
        Command::Rewind(options) => operate::rewind::run(*options).await,
        Command::List(options) => operate::list::run(options).await,
        Command::Branches(options) => operate::branches::run(options).await,
        Command::History(options) => operate::history::run(options).await,
        Command::Diff(options) => operate::diff::run(options).await,
        Command::Why(options) => operate::why::run(options).await,
        Command::Suspend(options) => operate::control::suspend(options).await,
        Command::Resume(options) => operate::control::resume(options).await,
        Command::Cancel(options) => operate::control::cancel(options).await,
        Command::Terminate(options) => operate::control::terminate(options).await,
        Command::Restart(options) => operate::control::restart(options).await,
        Command::Purge(options) => operate::control::purge(options).await,
        Command::Raise(options) => operate::control::raise(options).await,
        Command::CheckReplay => Ok(operate::replay::run()),
        Command::Resolve(options) => operate::resolve::run(options).await,
        Command::Serve(options) => serve::serve(options).await,
        Command::Dev(options) => serve::dev(options).await,
    };
    match result {
        Ok(code) => code,
        Err(error) if error.is::<out::Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("perdura: {error:#}");
            ExitCode::FAILURE
        }
    }
}
