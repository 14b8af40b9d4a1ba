//! `perdura why`: what an instance or an entity waits for.

use crate::inspect::parse_id;
use anyhow::Context;
use clap::Args;
use perdura_core::EntityId;
use perdura_sqlite::SqliteStore;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct Options {
    /// The hub file
    file: PathBuf,
    /// The instance, or the entity: @Name@key
    instance: String,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let store = SqliteStore::open_read_only(&options.file)?;
    let id = parse_id(&options.instance)?;
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
        let done = if EntityId::of_instance(&id).is_some() { "it has nothing to do" } else { "it has ended" };
        println!("{done}, and waits for nothing");
    }
    Ok(ExitCode::SUCCESS)
}
