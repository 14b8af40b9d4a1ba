//! `perdura branches`: how often an instance was rewound, by whom, and why.

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
    let hub = options.hub.open(Access::Read).await?;
    let answer = hub.calls().branches(hub.request(InstanceRequest { instance })).await.map_err(refused)?;
    let answer = answer.into_inner();
    let is_present = |branch: u32| branch == answer.present;
    let present = |branch: u32| if is_present(branch) { ", the present one" } else { "" };
    if options.json {
        out::line(json!({ "branch": 0, "present": is_present(0) }))?;
    } else {
        out::line(format_args!("branch 0{}", present(0)))?;
    }
    for branch in &answer.branches {
        let at = shown(branch.at.as_ref());
        if options.json {
            out::line(json!({
                "branch": branch.branch,
                "parent": branch.parent,
                "cut": branch.cut,
                "at": at,
                "by": branch.by,
                "reason": branch.reason,
                "status_before": branch.status_before,
                "present": is_present(branch.branch),
            }))?;
        } else {
            let (number, parent, by, reason) =
                (branch.branch, branch.parent, escape(&branch.by), escape(&branch.reason));
            let kept = match branch.cut {
                0 => "keeps nothing".to_owned(),
                cut => format!("keeps events 0 to {}", cut - 1),
            };
            out::line(format_args!(
                "branch {number} {kept} of branch {parent}: rewound {at} by {by}, {reason} ({} before){}",
                branch.status_before,
                present(number)
            ))?;
        }
    }
    for back in &answer.returns {
        let at = shown(back.at.as_ref());
        if options.json {
            out::line(
                json!({ "return_to": back.branch, "from": back.from, "at": at, "by": back.by, "reason": back.reason }),
            )?;
        } else {
            let (by, reason) = (escape(&back.by), escape(&back.reason));
            out::line(format_args!(
                "back to branch {} from branch {}: {at} by {by}, {reason}",
                back.branch, back.from
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
