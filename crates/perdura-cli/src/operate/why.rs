//! `perdura why`: what an instance or an entity waits for.

use super::hub::{Access, HubOptions, refused};
use super::time::shown;
use crate::escape::escape;
use crate::out;
use clap::Args;
use perdura_proto::operator::InstanceRequest;
use serde_json::json;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    hub: HubOptions,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let instance = options.hub.the_instance()?;
    let is_entity = instance.starts_with('@');
    let hub = options.hub.open(Access::Read).await?;
    let answer = hub.calls().why(hub.request(InstanceRequest { instance })).await.map_err(refused)?;
    let waits = answer.into_inner().waits;
    for wait in &waits {
        let since = wait.since.as_ref().map(|at| shown(Some(at)));
        let missing = Some(&wait.missing).filter(|missing| !missing.is_empty());
        if options.json {
            out::line(json!({ "what": wait.what, "since": since, "who": wait.who, "missing": missing }))?;
        } else {
            let since = since.map_or(String::new(), |since| format!(" since {since}"));
            let missing = missing.map_or(String::new(), |missing| format!("; {missing}"));
            out::line(escape(&format!("waits for {}{since}; {}{missing}", wait.what, wait.who)))?;
        }
    }
    if waits.is_empty() && !options.json {
        let done = if is_entity { "it has nothing to do" } else { "it has ended" };
        out::line(format_args!("{done}, and waits for nothing"))?;
    }
    Ok(ExitCode::SUCCESS)
}
