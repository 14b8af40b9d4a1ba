//! `perdura diff`: where two branches of a history part.

use super::history::{as_json, line};
use super::hub::{Access, HubOptions, refused};
use crate::out;
use clap::Args;
use perdura_proto::operator::DiffRequest;
use perdura_proto::operator::diff_line::Line;
use serde_json::json;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    hub: HubOptions,
    /// The branches to compare
    #[arg(long, num_args = 2, value_names = ["LEFT", "RIGHT"], required = true)]
    branches: Vec<u32>,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let instance = options.hub.the_instance()?;
    let hub = options.hub.open(Access::Read).await?;
    let [left, right] = options.branches[..] else { anyhow::bail!("--branches takes two numbers") };
    let request = DiffRequest { instance, left, right };
    let mut lines = hub.calls().diff(hub.request(request)).await.map_err(refused)?.into_inner();
    while let Some(message) = lines.message().await.map_err(refused)? {
        let Some(text) = message.line else { continue };
        out::line(match (&text, options.json) {
            (Line::Common(0), false) => "  the branches have nothing in common".to_owned(),
            (Line::Common(common), false) => format!("  both begin with events 0 to {}", common - 1),
            (Line::Left(event), false) => format!("- {}", line(event)),
            (Line::Right(event), false) => format!("+ {}", line(event)),
            (Line::Common(common), true) => json!({ "common": common }).to_string(),
            (Line::Left(event), true) => json!({ "branch": left, "only": as_json(event) }).to_string(),
            (Line::Right(event), true) => json!({ "branch": right, "only": as_json(event) }).to_string(),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}
