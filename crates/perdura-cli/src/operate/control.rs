//! The other verbs: suspend, resume, cancel, terminate, restart, purge, raise.

use super::hub::{Access, HubOptions, refused};
use super::report::Printer;
use super::rewind::{Payload, json_payload, send};
use super::select::SelectOptions;
use anyhow::ensure;
use clap::Args;
use perdura_proto::operator::control_request::Act;
use perdura_proto::operator::rewind_request::To;
use perdura_proto::operator::{ControlRequest, Purge, Raise, Reason, Restart, RewindRequest, Terminate};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct Common {
    #[command(flatten)]
    hub: HubOptions,
    #[command(flatten)]
    select: SelectOptions,
    /// Only say to which it would be done
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub struct ReasonOptions {
    #[command(flatten)]
    common: Common,
    /// Why; it is recorded
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Args, Debug)]
pub struct TerminateOptions {
    #[command(flatten)]
    common: Common,
    /// Why; it is recorded
    #[arg(long, default_value = "")]
    reason: String,
    /// Its children too
    #[arg(long)]
    recursive: bool,
}

#[derive(Args, Debug)]
pub struct PurgeOptions {
    #[command(flatten)]
    common: Common,
    /// Its children too, as far as they have ended; detached ones stay
    #[arg(long)]
    recursive: bool,
}

#[derive(Args, Debug)]
pub struct RestartOptions {
    #[command(flatten)]
    common: Common,
    /// Nothing that succeeded runs again: recorded results are taken by name and input. The history stays as a branch
    #[arg(long)]
    reuse_results: bool,
    /// With --reuse-results: an instance that has not ended is stopped
    #[arg(long, requires = "reuse_results")]
    force: bool,
    /// With --reuse-results: why; it is recorded
    #[arg(long, default_value = "restart", requires = "reuse_results")]
    reason: String,
    /// With --reuse-results: who; it is recorded
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
}

#[derive(Args, Debug)]
pub struct RaiseOptions {
    #[command(flatten)]
    hub: HubOptions,
    /// The event's name
    #[arg(long)]
    event: String,
    /// What it carries
    #[arg(long, value_name = "JSON", value_parser = json_payload)]
    data: Option<Payload>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Common {
    async fn ask(&self, act: Act, done: &'static str) -> anyhow::Result<ExitCode> {
        let target = self.select.target(self.hub.instance()?)?;
        let request = ControlRequest { target: Some(target), dry_run: self.dry_run, act: Some(act) };
        let last = self.dry_run.then_some("nothing was changed");
        ask(&self.hub, request, Printer { json: self.json, done, last, given: Vec::new() }).await
    }
}

async fn ask(hub: &HubOptions, request: ControlRequest, printer: Printer) -> anyhow::Result<ExitCode> {
    let hub = hub.open(if request.dry_run { Access::Read } else { Access::Write }).await?;
    let reports = hub.calls().control(hub.request(request)).await.map_err(refused)?;
    printer.print(reports.into_inner()).await
}

pub async fn suspend(options: ReasonOptions) -> anyhow::Result<ExitCode> {
    options.common.ask(Act::Suspend(Reason { reason: options.reason.clone() }), "suspended").await
}

pub async fn resume(options: ReasonOptions) -> anyhow::Result<ExitCode> {
    options.common.ask(Act::Resume(Reason { reason: options.reason.clone() }), "resumed").await
}

pub async fn cancel(options: ReasonOptions) -> anyhow::Result<ExitCode> {
    options.common.ask(Act::Cancel(Reason { reason: options.reason.clone() }), "asked to cancel").await
}

pub async fn terminate(options: TerminateOptions) -> anyhow::Result<ExitCode> {
    let terminate = Terminate { reason: options.reason.clone(), recursive: options.recursive };
    options.common.ask(Act::Terminate(terminate), "terminated").await
}

pub async fn purge(options: PurgeOptions) -> anyhow::Result<ExitCode> {
    options.common.ask(Act::Purge(Purge { recursive: options.recursive }), "purged").await
}

pub async fn restart(options: RestartOptions) -> anyhow::Result<ExitCode> {
    let common = &options.common;
    if !options.reuse_results {
        return common.ask(Act::Restart(Restart {}), "started once more").await;
    }
    let request = RewindRequest {
        target: Some(common.select.target(common.hub.instance()?)?),
        by: options.by,
        reason: options.reason,
        to: Some(To::Beginning(true)),
        force: options.force,
        dry_run: common.dry_run,
        ..RewindRequest::default()
    };
    send(&common.hub, request, common.json).await
}

pub async fn raise(options: RaiseOptions) -> anyhow::Result<ExitCode> {
    use perdura_proto::operator::{Target, target};
    ensure!(!options.event.is_empty(), "--event: an event has a name");
    let target = Target { target: Some(target::Target::Instance(options.hub.the_instance()?)) };
    let input = options.data.and_then(|data| *data);
    let act = Act::Raise(Raise { name: options.event, input });
    let request = ControlRequest { target: Some(target), dry_run: false, act: Some(act) };
    ask(
        &options.hub,
        request,
        Printer { json: options.json, done: "has the event", last: None, given: Vec::new() },
    )
    .await
}
