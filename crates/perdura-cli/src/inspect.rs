//! `perdura inspect`: what a hub file holds, read without the engine.

use anyhow::Context;
use clap::Args;
use perdura_core::history::{Event, EventKind};
use perdura_core::partition::{InstanceRecord, InstanceRow};
use perdura_core::{InstanceId, Status, Timestamp};
use perdura_sqlite::SqliteStore;
use perdura_store::{InstanceQuery, Instances, Lookup};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Rows read at once.
const PAGE: usize = 1000;
/// Bytes of a payload that are shown.
const PAYLOAD_SHOWN: usize = 200;

/// Print what a hub file holds: instances, what each one waits for, and histories.
#[derive(Args, Debug)]
pub struct Options {
    /// The hub file
    file: PathBuf,
    /// Only this instance, with its history
    #[arg(value_name = "INSTANCE")]
    instance: Option<String>,
    /// Only instances in this status (pending, running, suspended, completed, failed, canceled, terminated)
    #[arg(long, value_parser = parse_status)]
    status: Option<Status>,
    /// Print at most so many instances
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

fn parse_status(text: &str) -> Result<Status, String> {
    let found = Status::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        format!("unknown status; one of {}", Status::ALL.map(Status::name).join(", ").to_lowercase())
    })
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let store = SqliteStore::open_read_only(&options.file)?;
    match &options.instance {
        Some(id) => one(&store, id, options.json).await,
        None => all(&store, &options).await,
    }
}

/// A summary by status, then a line or more for each instance.
async fn all(store: &SqliteStore, options: &Options) -> anyhow::Result<ExitCode> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut shown = Vec::new();
    let mut query = InstanceQuery::default();
    loop {
        let rows = store.query(query.clone(), PAGE).await?;
        let Some(last) = rows.last() else { break };
        query.after = Some(last.key);
        for row in rows {
            *counts.entry(row.status.name()).or_default() += 1;
            if shown.len() < options.limit && options.status.is_none_or(|status| status == row.status) {
                shown.push(row);
            }
        }
    }
    let total: u64 = counts.values().sum();
    if options.json {
        println!("{}", json!({ "instances": total, "by_status": counts }));
    } else {
        let by_status: Vec<_> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
        println!("{}: {total} instances ({})", options.file.display(), by_status.join(", "));
    }
    for row in &shown {
        match row.open() {
            Ok(record) if options.json => println!("{}", instance_json(&record)),
            Ok(record) => print_instance(&record),
            Err(damage) => println!("{:?}  DAMAGED: {damage}", row.id),
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn one(store: &SqliteStore, id: &str, as_json: bool) -> anyhow::Result<ExitCode> {
    let id = InstanceId::new(id)?;
    let row = store.find(vec![Lookup::Id(id.clone())]).await?.pop().flatten();
    let row = row.with_context(|| format!("there is no instance {id:?}"))?;
    let record = row.open()?;
    let events = history(store, &row).await?;
    if as_json {
        println!("{}", instance_json(&record));
    } else {
        print_instance(&record);
    }
    for (number, event) in events.iter().enumerate() {
        if as_json {
            println!(
                "{}",
                json!({ "event": number, "at": event.at.to_string(), "kind": event.kind.name(), "what": describe(&event.kind) })
            );
        } else {
            println!("  {number:>6}  {}  {} {}", event.at, event.kind.name(), describe(&event.kind));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn history(store: &SqliteStore, row: &InstanceRow) -> anyhow::Result<Vec<Event>> {
    let rows = store.history(row.key, row.generation, row.branch, 0, usize::MAX).await?;
    let mut events = Vec::new();
    for part in rows {
        events.extend(
            part.open().with_context(|| format!("history of {:?} from event {}", row.id, part.first))?,
        );
    }
    Ok(events)
}

fn print_instance(record: &InstanceRecord) {
    let status = record.status().map_or("?", Status::name);
    println!("{:?}  {} {status} since {}", record.id, name(record), Timestamp(record.created_at));
    if let Some(custom) = &record.custom_status {
        println!("    says: {}", payload(custom));
    }
    if let Some(failure) = &record.failure {
        println!("    failed: {}", escape(&failure.to_string()));
    }
    if let Some(output) = &record.output {
        println!("    output: {}", payload(output));
    }
    for wait in waits_for(record) {
        println!("    waits for {wait}");
    }
}

fn instance_json(record: &InstanceRecord) -> Value {
    json!({
        "id": record.id,
        "name": record.name,
        "version": record.version,
        "status": record.status().map_or("?", Status::name),
        "generation": record.generation,
        "branch": record.branch,
        "events": record.tail,
        "created_at": Timestamp(record.created_at).to_string(),
        "updated_at": Timestamp(record.updated_at).to_string(),
        "completed_at": (record.completed_at != 0).then(|| Timestamp(record.completed_at).to_string()),
        "parents": record.parents.iter().map(|parent| &parent.instance).collect::<Vec<_>>(),
        "tags": record.tags,
        "custom_status": record.custom_status.as_deref().map(payload),
        "output": record.output.as_deref().map(payload),
        "failure": record.failure.as_ref().map(ToString::to_string),
        "waits_for": waits_for(record),
    })
}

fn name(record: &InstanceRecord) -> String {
    let version =
        if record.version.is_empty() { String::new() } else { format!("@{}", escape(&record.version)) };
    format!("{}{version}", escape(&record.name))
}

/// What an instance waits for, in words.
fn waits_for(record: &InstanceRecord) -> Vec<String> {
    let mut waits = Vec::new();
    if record.status().is_ok_and(Status::is_terminal) {
        return waits;
    }
    if let Some(block) = &record.block {
        waits.push(format!("a repair since {}: {}", Timestamp(block.since), escape(&block.reason)));
    }
    if let Some(reason) = &record.suspended {
        waits.push(format!("being resumed (suspended: {:?})", escape(reason)));
    }
    if record.start_at != 0 && record.tail == 0 {
        waits.push(format!("its start at {}", Timestamp(record.start_at)));
    }
    for task in &record.tasks {
        let failure = task
            .last_failure
            .as_ref()
            .map_or(String::new(), |f| format!(", after {}", escape(&f.to_string())));
        waits.push(match task.not_before {
            0 => format!(
                "activity {} since {} (attempt {}, delivery {}{failure})",
                task.id,
                Timestamp(task.scheduled_at),
                task.attempt,
                task.delivery
            ),
            at => format!("attempt {} of activity {} at {}{failure}", task.attempt, task.id, Timestamp(at)),
        });
    }
    waits.extend(
        record.timers.iter().map(|timer| format!("timer {} at {}", timer.id, Timestamp(timer.fire_at))),
    );
    waits.extend(record.children.iter().map(|child| match child.not_before {
        0 => format!("child {:?} (attempt {})", child.instance, child.attempt),
        at => format!("attempt {} of child {:?} at {}", child.attempt, child.instance, Timestamp(at)),
    }));
    let inbox = record.inbox_events().map_or(0, |events| events.len());
    if inbox > 0 {
        waits.push(format!("a turn: {inbox} events have arrived that no turn has taken"));
    }
    if waits.is_empty() {
        waits.push("an external event".into());
    }
    waits
}

/// An event in a few words.
fn describe(event: &EventKind) -> String {
    let with = |text: String, payload_bytes: &Option<bytes::Bytes>| match payload_bytes {
        Some(bytes) => format!("{text} {}", payload(bytes)),
        None => text,
    };
    let failed = |failure: &Option<perdura_core::Failure>| {
        failure.as_ref().map_or(String::new(), |f| escape(&f.to_string()))
    };
    match event {
        EventKind::TurnStarted(_) => String::new(),
        EventKind::ExecutionStarted(e) => with(escape(&e.name), &e.input),
        EventKind::ExecutionCompleted(e) => {
            let status = e.final_status().map_or("?", Status::name).to_owned();
            format!("{} {}", with(status, &e.output), failed(&e.failure)).trim_end().into()
        }
        EventKind::ExecutionTerminated(e) => escape(&e.reason),
        EventKind::TaskScheduled(e) => with(format!("{} {}", e.id, escape(&e.name)), &e.input),
        EventKind::TaskCompleted(e) => {
            with(format!("{} (attempt {}, delivery {})", e.id, e.attempt, e.delivery), &e.output)
        }
        EventKind::TaskFailed(e) => {
            format!("{} (attempt {}, delivery {}) {}", e.id, e.attempt, e.delivery, failed(&e.failure))
        }
        EventKind::SubOrchestrationScheduled(e) => {
            with(format!("{} {} as {:?}", e.id, escape(&e.name), e.instance), &e.input)
        }
        EventKind::SubOrchestrationCompleted(e) => with(e.id.to_string(), &e.output),
        EventKind::SubOrchestrationFailed(e) => format!("{} {}", e.id, failed(&e.failure)),
        EventKind::TimerCreated(e) => format!("{} at {}", e.id, Timestamp(e.fire_at)),
        EventKind::TimerFired(e) => e.id.to_string(),
        EventKind::EventSent(e) => {
            with(format!("{} {} to {:?}", e.id, escape(&e.name), e.instance), &e.input)
        }
        EventKind::EventRaised(e) => with(escape(&e.name), &e.input),
        EventKind::ExecutionSuspended(e) => escape(&e.reason),
        EventKind::ExecutionResumed(e) => escape(&e.reason),
        EventKind::CancelRequested(e) => escape(&e.reason),
    }
}

/// The beginning of a payload, as text where it is text. Control characters never reach the terminal.
fn payload(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(PAYLOAD_SHOWN)];
    let text = match std::str::from_utf8(shown) {
        Ok(text) => escape(text),
        Err(error) if error.valid_up_to() + 4 > shown.len() && shown.len() < bytes.len() => {
            escape(&String::from_utf8_lossy(&shown[..error.valid_up_to()]))
        }
        Err(_) => return format!("({} bytes, not text)", bytes.len()),
    };
    if shown.len() < bytes.len() { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}
