//! `perdura inspect`: what a hub file holds, read without the engine.

mod entities;
mod json;
mod words;

pub use entities::parse_id;

use crate::escape::escape;
use anyhow::Context;
use clap::Args;
use perdura_core::Status;
use perdura_core::history::{Event, EventKind};
use perdura_core::partition::{InstanceRecord, InstanceRow};
use perdura_core::rewind::assemble;
use perdura_sqlite::SqliteStore;
use perdura_store::{InstanceQuery, Instances, Lookup, read_history};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use words::TaskNames;

/// Rows read at once.
const PAGE: usize = 1000;
/// Things that an instance waits for that are shown in a list.
const WAITS_SHOWN: usize = 10;

/// Print what a hub file holds: instances, what each one waits for, and histories.
#[derive(Args, Debug)]
pub struct Options {
    /// The hub file
    file: PathBuf,
    /// Only this instance, with its history, or this entity (@name@key)
    #[arg(value_name = "INSTANCE", conflicts_with_all = ["status", "limit", "entities"])]
    instance: Option<String>,
    /// The history of this branch, in the place of the present one; see `perdura branches`
    #[arg(long, requires = "instance")]
    branch: Option<u32>,
    /// Only instances in this status (pending, running, suspended, completed, failed, canceled, terminated)
    #[arg(long, value_parser = parse_status)]
    status: Option<Status>,
    /// Print entities instead of instances
    #[arg(long, conflicts_with = "status")]
    entities: bool,
    /// Print at most so many instances
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// A status by its name.
pub fn parse_status(text: &str) -> Result<Status, String> {
    let found = Status::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        format!("unknown status; one of {}", Status::ALL.map(Status::name).join(", ").to_lowercase())
    })
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let store = SqliteStore::open_read_only(&options.file)?;
    let mut out = BufWriter::new(io::stdout());
    let printed = match &options.instance {
        Some(id) => one(&store, id, &options, &mut out).await,
        None if options.entities => entities::all(&store, options.limit, options.json, &mut out).await,
        None => all(&store, &options, &mut out).await,
    };
    match printed.and_then(|()| Ok(out.flush()?)) {
        // The reader has seen enough: `perdura inspect hub.db | head`.
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(is_broken_pipe) => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// A summary by status, then a line or more for each instance.
async fn all(store: &SqliteStore, options: &Options, out: &mut impl Write) -> anyhow::Result<()> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut shown = Vec::new();
    let mut left = 0;
    let mut query = InstanceQuery::default();
    loop {
        let rows = store.query(query.clone(), PAGE).await?;
        let Some(last) = rows.last() else { break };
        query.after = Some((last.created_at, last.key));
        for row in rows {
            let status = if row.damage.is_some() { "damaged" } else { row.status.name() };
            *counts.entry(status).or_default() += 1;
            if options.status.is_none_or(|wanted| status == wanted.name()) {
                if shown.len() < options.limit { shown.push(row) } else { left += 1 }
            }
        }
    }
    let total: u64 = counts.values().sum();
    if options.json {
        writeln!(out, "{}", json!({ "instances": total, "by_status": counts }))?;
    } else {
        let by_status: Vec<_> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
        let by_status = if by_status.is_empty() { "none".into() } else { by_status.join(", ") };
        let file = escape(&options.file.to_string_lossy());
        writeln!(out, "{file}: {total} instances ({by_status})")?;
    }
    for row in &shown {
        let record = match row.open() {
            Ok(record) => record,
            Err(damage) if options.json => {
                writeln!(out, "{}", json!({ "id": row.id.as_str(), "damaged": damage.to_string() }))?;
                continue;
            }
            Err(damage) => {
                writeln!(out, "\"{}\"  damaged: {damage}", escape(row.id.as_str()))?;
                continue;
            }
        };
        if options.json {
            writeln!(
                out,
                "{}",
                json::instance(&record, &task_names(store, row, &record, usize::MAX).await?)
            )?;
        } else {
            let names = task_names(store, row, &record, WAITS_SHOWN).await?;
            print_instance(out, &record, &names, WAITS_SHOWN)?;
        }
    }
    if left > 0 && !options.json {
        writeln!(out, "… and {left} more; see --limit and --status")?;
    }
    Ok(())
}

async fn one(store: &SqliteStore, id: &str, options: &Options, out: &mut impl Write) -> anyhow::Result<()> {
    let as_json = options.json;
    let id = parse_id(id)?;
    let row = store.find(vec![Lookup::Id(id.clone())]).await?.pop().flatten();
    let row = row.with_context(|| format!("there is no instance {id:?}"))?;
    let record = row.open()?;
    if record.entity.is_some() {
        return Ok(entities::print(&record, as_json, out)?);
    }
    let events = history(store, &row, &record, options.branch.unwrap_or(row.branch)).await?;
    let names = events.iter().filter_map(scheduled_name).collect();
    if as_json {
        writeln!(out, "{}", json::instance(&record, &names))?;
    } else {
        print_instance(out, &record, &names, usize::MAX)?;
    }
    for (number, event) in events.iter().enumerate() {
        if as_json {
            writeln!(out, "{}", json::event(number, event))?;
        } else {
            let line = format!(
                "  {number:>6}  {}  {} {}",
                event.at,
                event.kind.name(),
                words::describe(&event.kind)
            );
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    Ok(())
}

async fn history(
    store: &SqliteStore,
    row: &InstanceRow,
    record: &InstanceRecord,
    branch: u32,
) -> anyhow::Result<Vec<Event>> {
    let parts =
        record.history_parts(branch).with_context(|| format!("{:?} has no branch {branch}", row.id))?;
    let rows = read_history(store, row.key, row.generation, &parts).await?;
    assemble(&rows).with_context(|| format!("history of {:?}", row.id))
}

/// The names of the activities that an instance waits for, which only its history has. At most so many are looked up.
async fn task_names(
    store: &SqliteStore,
    row: &InstanceRow,
    record: &InstanceRecord,
    most: usize,
) -> anyhow::Result<TaskNames> {
    let mut names = TaskNames::new();
    for task in record.tasks.iter().take(most) {
        if names.contains_key(&task.id) {
            continue;
        }
        // A part of a history that cannot be read costs a name here, not the list.
        let parts = record.history_parts(row.branch).unwrap_or_default();
        let branch = parts.iter().rev().find(|part| part.from <= task.event).map_or(0, |part| part.branch);
        let parts = store.history(row.key, row.generation, branch, task.event, 1).await?;
        let events = parts.first().and_then(|part| part.open().ok()).unwrap_or_default();
        names.extend(events.iter().filter_map(scheduled_name));
    }
    Ok(names)
}

fn scheduled_name(event: &Event) -> Option<(u32, String)> {
    match &event.kind {
        EventKind::TaskScheduled(task) => Some((task.id, task.name.clone())),
        _ => None,
    }
}

fn print_instance(
    out: &mut impl Write,
    record: &InstanceRecord,
    names: &TaskNames,
    waits_shown: usize,
) -> io::Result<()> {
    writeln!(out, "\"{}\"  {} {}", escape(&record.id), words::name(record), words::status(record))?;
    if let Some(custom) = &record.custom_status {
        writeln!(out, "    says: {}", words::payload(custom))?;
    }
    if let Some(failure) = &record.failure {
        writeln!(out, "    failed: {}", escape(&failure.to_string()))?;
    }
    if let Some(output) = &record.output {
        writeln!(out, "    output: {}", words::payload(output))?;
    }
    let waits = words::waits_for(record, names);
    for wait in waits.iter().take(waits_shown) {
        writeln!(out, "    waits for {wait}")?;
    }
    if waits.len() > waits_shown {
        writeln!(out, "    … and for {} more", waits.len() - waits_shown)?;
    }
    Ok(())
}
