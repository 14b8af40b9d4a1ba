//! `perdura list`: instances that a filter matches.

use super::hub::{Access, HubOptions, refused};
use super::select::SelectOptions;
use super::time::shown;
use crate::escape::escape;
use anyhow::ensure;
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

/// So many are listed if nothing is said.
const LISTED: u64 = 100;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    hub: HubOptions,
    #[command(flatten)]
    select: SelectOptions,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let one = options.hub.instance()?;
    ensure!(one.is_none(), "for one instance there are `perdura history` and `perdura why`");
    let hub = options.hub.open(Access::Read).await?;
    let mut selection = options.select.selection();
    if selection.limit == 0 {
        selection.limit = LISTED;
    }
    let mut found = hub.calls().list(hub.request(selection)).await.map_err(refused)?.into_inner();
    while let Some(instance) = found.message().await.map_err(refused)? {
        let started = shown(instance.created_at.as_ref());
        let ended = instance.completed_at.as_ref().map(|at| shown(Some(at)));
        if options.json {
            println!(
                "{}",
                json!({
                    "instance": instance.instance,
                    "name": instance.name,
                    "version": instance.version,
                    "status": instance.status,
                    "started": started,
                    "ended": ended,
                    "failure": instance.failure,
                    "tags": instance.tags,
                })
            );
            continue;
        }
        let (id, name) = (escape(&instance.instance), escape(&instance.name));
        let ended = ended.map_or(String::new(), |at| format!(", ended {at}"));
        println!("\"{id}\"  {name} {}, started {started}{ended}", instance.status);
        if !instance.failure.is_empty() {
            println!("    failed: {}", escape(&instance.failure));
        }
    }
    Ok(ExitCode::SUCCESS)
}
