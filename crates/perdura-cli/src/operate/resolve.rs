//! `perdura resolve`: says what follows for an activity of which nobody knows whether it ran.

use anyhow::{Context, bail};
use clap::Args;
use perdura_core::delivery::Answer;
use perdura_core::partition::Request;
use perdura_core::{Failure, InstanceId};
use perdura_engine::ask_at_rest;
use perdura_sqlite::{SqliteOptions, SqliteStore};
use std::path::PathBuf;
use std::process::ExitCode;

/// The kind of the failure that an operator declares without naming one.
const UNNAMED: &str = "OperatorSaidFailed";

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("verdict").required(true))]
pub struct Options {
    /// The hub file
    file: PathBuf,
    /// The instance
    instance: String,
    /// The task; needed if several are in doubt
    #[arg(long)]
    task: Option<u32>,
    /// Who says so, and why; it is recorded
    #[arg(long, default_value = "operator")]
    by: String,
    /// It ran, and returned this
    #[arg(long, value_name = "JSON", group = "verdict")]
    complete: Option<String>,
    /// It failed; it is not retried
    #[arg(long, value_name = "MESSAGE", group = "verdict")]
    fail: Option<String>,
    /// It may run one more time
    #[arg(long, group = "verdict")]
    run_once_more: bool,
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let id = InstanceId::new(&options.instance)?;
    let answer = match (&options.complete, &options.fail) {
        (Some(json), _) => {
            let value: serde_json::Value = serde_json::from_str(json).context("--complete: not JSON")?;
            Answer::Complete((!value.is_null()).then(|| json.clone().into()))
        }
        (None, Some(message)) => Answer::Fail(Failure::new(UNNAMED, message.clone())),
        (None, None) if options.run_once_more => Answer::RunOnceMore,
        (None, None) => bail!("say --complete JSON, --fail MESSAGE or --run-once-more"),
    };
    if !options.file.exists() {
        bail!("{}: there is no such file", options.file.display());
    }
    let store = SqliteStore::open(&options.file, SqliteOptions::default())?;
    ask_at_rest(&store, Request::Resolve { id: id.clone(), task: options.task, answer, by: options.by })
        .await?;
    println!("{}: it goes on when an engine is started", crate::escape::escape(id.as_str()));
    Ok(ExitCode::SUCCESS)
}
