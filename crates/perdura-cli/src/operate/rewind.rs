//! `perdura rewind`: instances go back to an earlier point of their histories.

use super::hub::{Access, HubOptions, refused};
use super::report::Printer;
use super::select::SelectOptions;
use super::time::{span, time};
use crate::escape::escape;
use anyhow::ensure;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use perdura_proto::operator::rewind_request::{Timers, To};
use perdura_proto::operator::{Replaced, RewindRequest};
use prost_types::Timestamp as WireTime;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// Where to go back to without any of the options: what ended the instance is undone.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    hub: HubOptions,
    #[command(flatten)]
    who: WhoOptions,
    #[command(flatten)]
    to: ToOptions,
    /// What becomes of timers that were pending
    #[arg(long, value_enum, default_value_t = TimerChoice::Extend)]
    timers: TimerChoice,
    /// Everything after the cut runs again
    #[arg(long)]
    no_reuse: bool,
    /// Calls of this name run again
    #[arg(long, value_name = "NAME")]
    rerun: Vec<String>,
    /// Events from outside that came after the cut are not delivered again
    #[arg(long)]
    drop_events: bool,
    /// Parents that failed with it are rewound too
    #[arg(long)]
    with_parents: bool,
    /// An instance that has not ended is stopped and rewound
    #[arg(long)]
    force: bool,
    /// Another input for an activity that runs again, by an event of it
    #[arg(long, value_name = "EVENT=JSON", value_parser = replaced)]
    set_input: Vec<Replaced>,
    /// A result in the place of the one that an activity had, or would have, by an event of it
    #[arg(long, value_name = "EVENT=JSON", value_parser = replaced)]
    set_result: Vec<Replaced>,
    /// Another input of the instance; only with --to-beginning
    #[arg(long, value_name = "JSON", value_parser = json_text, requires = "to_beginning")]
    input: Option<String>,
    /// Only print the plan
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    select: SelectOptions,
    /// So many first; the rest only if all of these complete
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    canary: u32,
    /// How long to wait for these
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = span)]
    canary_wait: Duration,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// Who does it, and why.
#[derive(Args, Debug)]
pub struct WhoOptions {
    /// Why; it is recorded
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
    /// Who; it is recorded
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
    /// Asked again with the same text, an instance is not rewound again
    #[arg(long, value_name = "TEXT", default_value = "")]
    request_id: String,
}

#[derive(Args, Debug)]
#[group(multiple = false)]
struct ToOptions {
    /// Before the turn of this event
    #[arg(long, value_name = "EVENT")]
    from_event: Option<u64>,
    /// Before this turn; the first is 1
    #[arg(long, value_name = "TURN")]
    to_turn: Option<u32>,
    /// Before the first turn that began then or later: a time, or 2h for that long ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    to_time: Option<WireTime>,
    /// Before the first call of this activity or sub-orchestration
    #[arg(long, value_name = "NAME")]
    before_call: Option<String>,
    /// To the beginning, with the results that are recorded
    #[arg(long)]
    to_beginning: bool,
    /// To the end of another branch: an undone rewind
    #[arg(long, value_name = "BRANCH")]
    to_branch: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TimerChoice {
    /// As much time as was left
    Extend,
    /// The same deadline
    Keep,
    /// All of it again
    Restart,
}

/// A payload; absent for `null`.
pub type Payload = Box<Option<Vec<u8>>>;

/// JSON as a payload: `null` is none.
pub fn json_payload(text: &str) -> Result<Payload, String> {
    let text = json_text(text)?;
    Ok(Box::new((text.trim() != "null").then(|| text.into_bytes())))
}

fn json_text(text: &str) -> Result<String, String> {
    serde_json::from_str::<Value>(text).map_err(|error| format!("{text:?} is not JSON: {error}"))?;
    Ok(text.to_owned())
}

fn replaced(text: &str) -> Result<Replaced, String> {
    let (event, payload) = text.split_once('=').ok_or("expected EVENT=JSON, such as 12={\"paid\":true}")?;
    let event = event.parse().map_err(|_| format!("{event:?} is no number of an event"))?;
    Ok(Replaced { event, payload: *json_payload(payload)? })
}

impl ToOptions {
    fn to(&self) -> Option<To> {
        let beginning = self.to_beginning.then_some(To::Beginning(true));
        (self.from_event.map(To::Event))
            .or(self.to_turn.map(To::Turn))
            .or(self.to_time.map(To::Time))
            .or_else(|| self.before_call.clone().map(To::Call))
            .or(beginning)
            .or(self.to_branch.map(To::Branch))
    }
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let (hub, json, dry_run) = (&options.hub, options.json, options.dry_run);
    let target = options.select.target(hub.instance()?)?;
    let is_one = hub.instance()?.is_some();
    ensure!(
        is_one || options.set_input.is_empty() && options.set_result.is_empty(),
        "inputs and results belong to events of one instance; name it"
    );
    ensure!(!is_one || options.canary == 0, "canaries are for many instances; name a filter");
    let request = RewindRequest {
        target: Some(target),
        by: options.who.by,
        reason: options.who.reason,
        request_id: options.who.request_id,
        to: options.to.to(),
        timers: match options.timers {
            TimerChoice::Extend => Timers::Extend,
            TimerChoice::Keep => Timers::Keep,
            TimerChoice::Restart => Timers::Restart,
        }
        .into(),
        no_reuse: options.no_reuse,
        rerun: options.rerun,
        drop_events: options.drop_events,
        with_parents: options.with_parents,
        force: options.force,
        inputs: options.set_input,
        results: options.set_result,
        // Also of `null`: no payload at all would leave the old one.
        input: options.input.map(String::into_bytes),
        dry_run,
        canaries: options.canary,
        canary_seconds: u32::try_from(options.canary_wait.as_secs()).unwrap_or(u32::MAX),
        head: None,
    };
    send(hub, request, json).await
}

/// Asks for a rewind and prints what comes of it.
pub async fn send(hub: &HubOptions, request: RewindRequest, json: bool) -> anyhow::Result<ExitCode> {
    let (dry_run, given) = (request.dry_run, given(&request));
    let hub = hub.open(if dry_run { Access::Read } else { Access::Write }).await?;
    let reports = hub.calls().rewind(hub.request(request)).await.map_err(refused)?;
    let last = match (dry_run, hub.is_at_rest) {
        (true, _) => "nothing was changed",
        (false, true) => "done; it goes on when an engine is started",
        (false, false) => "done; it goes on",
    };
    Printer { json, done: "rewound", last: Some(last), given }.print(reports.into_inner()).await
}

fn given(request: &RewindRequest) -> Vec<String> {
    let text = |payload: &Option<Vec<u8>>| match payload {
        Some(payload) => escape(&String::from_utf8_lossy(payload)).to_string(),
        None => "null".to_owned(),
    };
    let line = |what: &str, one: &Replaced| {
        format!("{what} of event {}, given by hand: {}", one.event, text(&one.payload))
    };
    let results = request.results.iter().map(|one| line("result", one));
    let inputs = request.inputs.iter().map(|one| line("input", one));
    let own = request
        .input
        .iter()
        .map(|_| format!("input of the instance, given by hand: {}", text(&request.input)));
    results.chain(inputs).chain(own).collect()
}
