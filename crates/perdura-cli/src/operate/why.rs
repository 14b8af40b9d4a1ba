//! `perdura why`: what an instance waits for.

use anyhow::Context;
use clap::Args;
use perdura_core::InstanceId;
use perdura_sqlite::SqliteStore;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct Options {
    /// The hub file
    file: PathBuf,
    /// The instance
    instance: String,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let store = SqliteStore::open_read_only(&options.file)?;
    let id = InstanceId::new(&options.instance)?;
    let waits = perdura_engine::why_in(&store, &id).await?;
    let waits = waits.with_context(|| format!("there is no instance {id:?}"))?;
    for wait in &waits {
        if options.json {
            let since = wait.since.map(|since| since.to_string());
            println!(
                "{}",
                json!({ "what": wait.what, "since": since, "who": wait.who, "missing": wait.missing })
            );
        } else {
            println!("{}", crate::escape::escape(&wait.to_string()));
        }
    }
    if waits.is_empty() && !options.json {
        println!("it has ended, and waits for nothing");
    }
    Ok(ExitCode::SUCCESS)
}
