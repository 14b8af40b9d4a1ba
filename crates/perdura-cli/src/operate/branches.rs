//! `perdura branches`: how often an instance was rewound, by whom, and why.

use crate::escape::escape;
use anyhow::Context;
use clap::Args;
use perdura_core::rewind::BranchRecord;
use perdura_core::{InstanceId, Status, Timestamp};
use perdura_sqlite::SqliteStore;
use perdura_store::{Instances, Lookup};
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
    let row = store.find(vec![Lookup::Id(id.clone())]).await?.pop().flatten();
    let record = row.with_context(|| format!("there is no instance {id:?}"))?.open()?;
    let is_present = |branch: u32| branch == record.branch;
    if !options.json {
        println!("branch 0{}", if is_present(0) { ", the present one" } else { "" });
    }
    for branch in record.branches() {
        if options.json {
            println!(
                "{}",
                json!({
                    "branch": branch.branch,
                    "parent": branch.parent,
                    "cut": branch.cut,
                    "at": Timestamp(branch.at).to_string(),
                    "by": branch.by,
                    "reason": branch.reason,
                    "status_before": status(branch),
                    "present": is_present(branch.branch),
                })
            );
        } else {
            println!(
                "branch {} keeps events 0 to {} of branch {}: rewound {} by {}, {} ({} before){}",
                branch.branch,
                branch.cut,
                branch.parent,
                Timestamp(branch.at),
                escape(&branch.by),
                escape(&branch.reason),
                status(branch),
                if is_present(branch.branch) { ", the present one" } else { "" }
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn status(branch: &BranchRecord) -> &'static str {
    u8::try_from(branch.status).ok().and_then(Status::from_number).map_or("?", Status::name)
}
