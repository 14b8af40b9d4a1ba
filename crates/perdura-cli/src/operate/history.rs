//! `perdura history`: the events of an instance, on its present branch or another.

use super::hub::{Access, HubOptions, refused};
use super::time::shown;
use crate::escape::escape;
use crate::out;
use clap::Args;
use perdura_proto::operator::{HistoryEvent, HistoryRequest};
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    hub: HubOptions,
    /// Of this branch, in the place of the present one; see `perdura branches`
    #[arg(long)]
    branch: Option<u32>,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let instance = options.hub.the_instance()?;
    let hub = options.hub.open(Access::Read).await?;
    let request = HistoryRequest { instance, branch: options.branch };
    let mut events = hub.calls().history(hub.request(request)).await.map_err(refused)?.into_inner();
    while let Some(event) = events.message().await.map_err(refused)? {
        match options.json {
            true => out::line(as_json(&event))?,
            false => out::line(line(&event))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An event on a line of its own.
pub fn line(event: &HistoryEvent) -> String {
    let at = shown(event.at.as_ref());
    let line = format!("{:>6}  {at}  {} {}", event.event, event.kind, escape(&event.what));
    line.trim_end().to_owned()
}

pub fn as_json(event: &HistoryEvent) -> Value {
    let at = shown(event.at.as_ref());
    json!({ "event": event.event, "at": at, "kind": event.kind, "what": event.what })
}
