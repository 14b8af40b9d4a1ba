//! `perdura rewind`: an instance of a hub that no engine serves goes back to an earlier point.

use crate::escape::escape;
use clap::{Args, ValueEnum};
use perdura_core::InstanceId;
use perdura_core::rewind::{
    Because, Replaced, RewindOrder, RewindPlan, RewindSpec, RewindTo, Timers, WorkRef,
};
use perdura_engine::{plan_rewind, rewind_at_rest};
use perdura_sqlite::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where to go back to without any of the options: what ended the instance is undone.
#[derive(Args, Debug)]
pub struct Options {
    /// The hub file
    file: PathBuf,
    /// The instance
    instance: String,
    /// Why; it is recorded
    #[arg(long)]
    reason: String,
    /// Who; it is recorded
    #[arg(long, default_value = "operator")]
    by: String,
    /// Before the turn of this event
    #[arg(long, group = "to")]
    from_event: Option<u64>,
    /// Before this turn; the first is 1
    #[arg(long, group = "to")]
    to_turn: Option<u32>,
    /// Before the first call of this activity or sub-orchestration
    #[arg(long, value_name = "NAME", group = "to")]
    before_call: Option<String>,
    /// To the beginning, with the results that are recorded
    #[arg(long, group = "to")]
    to_beginning: bool,
    /// To the end of another branch: an undone rewind
    #[arg(long, value_name = "BRANCH", group = "to")]
    to_branch: Option<u32>,
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
    /// Only print the plan
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
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

fn replaced(text: &str) -> Result<Replaced, String> {
    let (event, payload) = text.split_once('=').ok_or("expected EVENT=JSON, such as 12={\"paid\":true}")?;
    let event = event.parse().map_err(|_| format!("{event:?} is no number of an event"))?;
    serde_json::from_str::<Value>(payload).map_err(|error| format!("{payload:?} is not JSON: {error}"))?;
    Ok(Replaced { event, payload: (payload != "null").then(|| payload.to_owned().into()) })
}

impl Options {
    fn spec(&self) -> RewindSpec {
        let to = match (&self.before_call, self.from_event, self.to_turn) {
            (Some(name), ..) => RewindTo::Call(name.clone()),
            (_, Some(event), _) => RewindTo::Event(event),
            (.., Some(turn)) => RewindTo::Turn(turn),
            _ if self.to_beginning => RewindTo::Beginning,
            _ if self.to_branch.is_some() => RewindTo::Head,
            _ => RewindTo::Auto,
        };
        let timers = match self.timers {
            TimerChoice::Extend => Timers::Extend,
            TimerChoice::Keep => Timers::Keep,
            TimerChoice::Restart => Timers::Restart,
        };
        RewindSpec {
            order: RewindOrder {
                by: self.by.clone(),
                reason: self.reason.clone(),
                request_id: String::new(),
                timers: timers.into(),
                no_reuse: self.no_reuse,
                rerun: self.rerun.clone(),
                drop_events: self.drop_events,
                with_parents: self.with_parents,
            },
            to,
            branch: self.to_branch,
            force: self.force,
            inputs: self.set_input.clone(),
            results: self.set_result.clone(),
            input: None,
            head: None,
        }
    }
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let (id, mut spec) = (InstanceId::new(&options.instance)?, options.spec());
    let plan = if options.dry_run {
        plan_rewind(&SqliteStore::open_read_only(&options.file)?, &id, &spec).await?
    } else {
        let store = SqliteStore::open(&options.file, SqliteOptions::default())?;
        let plan = plan_rewind(&store, &id, &spec).await?;
        spec.head = Some(plan.head);
        rewind_at_rest(&store, id.clone(), spec).await?;
        plan
    };
    if options.json {
        println!("{}", as_json(&plan));
    } else {
        print(&id, &plan);
        if options.dry_run {
            println!("nothing was changed");
        } else {
            println!("done; it goes on when an engine is started");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(id: &InstanceId, plan: &RewindPlan) {
    println!(
        "\"{}\" ({}): branch {} keeps {} of {} events of branch {}, {} turns",
        escape(id.as_str()),
        plan.status,
        plan.branch,
        plan.cut,
        plan.head.events,
        plan.from_branch,
        plan.turns_kept
    );
    println!("  the cut is {}", because(&plan.because));
    let list = |what: &str, work: &[WorkRef]| {
        for work in work {
            let name = if work.name.is_empty() { "timer" } else { &work.name };
            println!("  {what}: {} (task {}, event {})", escape(name), work.task, work.event);
        }
    };
    list("runs again", &plan.rerun);
    list("has a result to be used again", &plan.reused);
    println!("  delivered again: {} events {:?}", plan.carried.len(), plan.carried);
    println!("  dropped: {} events {:?}", plan.dropped.len(), plan.dropped);
    for timer in &plan.timers {
        println!("  timer {} was due {}, is due {}", timer.timer, timer.was, timer.due);
    }
    for child in &plan.children {
        println!("  child \"{}\" comes along", escape(&child.instance));
    }
    if !plan.visible.is_empty() {
        println!("  the world has seen of what is dropped: events {:?}", plan.visible);
    }
}

fn because(because: &Because) -> String {
    match because {
        Because::Failure { event } => format!("before the failure that ended it, event {event}"),
        Because::LastTurn => "before its last turn".into(),
        Because::Termination => "before its termination".into(),
        Because::Cancellation => "before the request to cancel".into(),
        Because::Event(event) => format!("before the turn of event {event}"),
        Because::Turn(turn) => format!("before turn {turn}"),
        Because::Time => "before the time asked for".into(),
        Because::Call { event } => format!("before the call at event {event}"),
        Because::Beginning => "at the beginning".into(),
        Because::Head => "at the end of that branch".into(),
    }
}

fn as_json(plan: &RewindPlan) -> Value {
    let work = |work: &[WorkRef]| -> Vec<Value> {
        let each = work.iter();
        each.map(
            |w| json!({ "event": w.event, "task": w.task, "name": w.name, "kind": format!("{:?}", w.kind) }),
        )
        .collect()
    };
    let timer = |timer: &perdura_core::rewind::TimerPlan| json!({ "event": timer.event, "was": timer.was.to_string(), "due": timer.due.to_string() });
    json!({
        "status": plan.status.name(),
        "events": plan.head.events,
        "from_branch": plan.from_branch,
        "branch": plan.branch,
        "cut": plan.cut,
        "because": because(&plan.because),
        "turns_kept": plan.turns_kept,
        "rerun": work(&plan.rerun),
        "reused": work(&plan.reused),
        "carried": plan.carried,
        "dropped": plan.dropped,
        "visible": plan.visible,
        "timers": plan.timers.iter().map(timer).collect::<Vec<_>>(),
        "children": plan.children.iter().map(|child| &child.instance).collect::<Vec<_>>(),
    })
}
