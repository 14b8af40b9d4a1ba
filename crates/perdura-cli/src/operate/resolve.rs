//! `perdura resolve`: says what follows for an activity of which nobody knows whether it ran.

use super::hub::{Access, HubOptions, refused};
use super::report::Printer;
use super::rewind::{Payload, json_payload};
use anyhow::bail;
use clap::Args;
use perdura_proto::operator::control_request::Act;
use perdura_proto::operator::{ControlRequest, Output, Resolve, Target, resolve, target};
use std::process::ExitCode;

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("verdict").required(true))]
pub struct Options {
    #[command(flatten)]
    hub: HubOptions,
    /// The task; needed if several are in doubt
    #[arg(long)]
    task: Option<u32>,
    /// Who says so, and why; it is recorded
    #[arg(long, default_value = "operator")]
    by: String,
    /// It ran, and returned this
    #[arg(long, value_name = "JSON", group = "verdict", value_parser = json_payload)]
    complete: Option<Payload>,
    /// It failed; it is not retried
    #[arg(long, value_name = "MESSAGE", group = "verdict")]
    fail: Option<String>,
    /// It may run one more time
    #[arg(long, group = "verdict")]
    run_once_more: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let instance = options.hub.the_instance()?;
    let answer = match (options.complete, options.fail) {
        (Some(payload), _) => resolve::Answer::Complete(Output { payload: *payload }),
        (None, Some(message)) => resolve::Answer::Fail(message),
        (None, None) if options.run_once_more => resolve::Answer::RunOnceMore(true),
        (None, None) => bail!("say --complete JSON, --fail MESSAGE or --run-once-more"),
    };
    let hub = options.hub.open(Access::Write).await?;
    let act = Act::Resolve(Resolve { task: options.task, by: options.by, answer: Some(answer) });
    let target = Some(Target { target: Some(target::Target::Instance(instance)) });
    let request = ControlRequest { target, dry_run: false, act: Some(act) };
    let reports = hub.calls().control(hub.request(request)).await.map_err(refused)?;
    let last = if hub.is_at_rest { "it goes on when an engine is started" } else { "it goes on" };
    Printer { json: options.json, done: "resolved", last: Some(last), given: Vec::new() }
        .print(reports.into_inner())
        .await
}
