//! `perdura list`: instances that a filter matches.

use super::hub::{Access, HubOptions, refused};
use super::select::SelectOptions;
use super::time::shown;
use crate::escape::escape;
use crate::out;
use anyhow::ensure;
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

/// So many are listed if nothing is said.
const LISTED: u64 = 100;
/// So many more are counted.
const COUNTED: u64 = 10_000;

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
    options.select.check()?;
    let hub = options.hub.open(Access::Read).await?;
    let mut selection = options.select.selection();
    let shown_max = match selection.limit {
        0 => LISTED,
        limit => limit,
    };
    if selection.limit == 0 {
        selection.limit = LISTED + COUNTED;
    }
    let mut matched = 0;
    let mut found = hub.calls().list(hub.request(selection)).await.map_err(refused)?.into_inner();
    while let Some(instance) = found.message().await.map_err(refused)? {
        matched += 1;
        if matched > shown_max {
            continue;
        }
        let started = shown(instance.created_at.as_ref());
        let ended = instance.completed_at.as_ref().map(|at| shown(Some(at)));
        if options.json {
            out::line(json!({
                "instance": instance.instance,
                "name": instance.name,
                "version": instance.version,
                "status": instance.status,
                "started": started,
                "ended": ended,
                "failure": instance.failure,
                "tags": instance.tags,
            }))?;
            continue;
        }
        let (id, name) = (escape(&instance.instance), escape(&instance.name));
        let ended = ended.map_or(String::new(), |at| format!(", ended {at}"));
        out::line(format_args!("\"{id}\"  {name} {}, started {started}{ended}", instance.status))?;
        if !instance.failure.is_empty() {
            out::line(format_args!("    failed: {}", escape(&instance.failure)))?;
        }
    }
    match matched.saturating_sub(shown_max) {
        0 => {}
        COUNTED => eprintln!("perdura: at least {COUNTED} more are not shown; see --limit"),
        more => eprintln!("perdura: {more} more are not shown; see --limit"),
    }
    Ok(ExitCode::SUCCESS)
}
