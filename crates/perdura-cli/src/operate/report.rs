//! What is printed of what was done: a line for each instance, and how far it has come.

use super::hub::refused;
use super::time::shown;
use crate::escape::escape;
use crate::out;
use perdura_proto::operator::report::What;
use perdura_proto::operator::{Plan, Report, Timer, Work};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tonic::Streaming;

/// How often a terminal is told how far it has come.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// How reports are printed.
pub struct Printer {
    pub json: bool,
    /// What happened to an instance to which it was done, such as "purged".
    pub done: &'static str,
    /// Said at the end of a success.
    pub last: Option<&'static str>,
    /// Said with a plan, a line each: what the operator gave by hand.
    pub given: Vec<String>,
}

#[derive(Default)]
struct Count {
    matched: Option<u64>,
    seen: u64,
    done: u64,
    would: u64,
    with_parent: u64,
    refused: u64,
    stopped: bool,
}

impl Printer {
    /// Prints reports as they come. Success means that nothing was refused.
    pub async fn print(&self, mut reports: Streaming<Report>) -> anyhow::Result<ExitCode> {
        let (mut count, mut told) = (Count::default(), Instant::now());
        let shows_progress = std::io::stderr().is_terminal();
        let mut is_read = true;
        while let Some(report) = reports.message().await.map_err(refused)? {
            let Some(what) = report.what else { continue };
            count.add(&what);
            let is_batch = count.matched.is_some();
            let text = match self.json {
                true => as_json(&report.instance, &what).to_string(),
                false => self.words(&report.instance, &what, is_batch),
            };
            if is_read && !text.is_empty() {
                is_read = is_written(&text)?;
            }
            // What is only planned is over when nobody reads it; what is done is done to the end.
            if !is_read && count.would > 0 {
                return Ok(ExitCode::SUCCESS);
            }
            if shows_progress && is_batch && told.elapsed() > PROGRESS_EVERY {
                told = Instant::now();
                eprintln!("{} of {}, {} refused", count.seen, count.matched.unwrap_or(0), count.refused);
            }
        }
        if let Some(matched) = count.matched
            && !self.json
            && is_read
        {
            is_read = is_written(&self.sum(matched, &count))?;
        }
        let is_well = count.refused == 0 && !count.stopped;
        if let Some(last) = self.last.filter(|_| is_well && is_read && !self.json) {
            is_written(last)?;
        }
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What became of all that matched: the numbers add up to it.
    fn sum(&self, matched: u64, count: &Count) -> String {
        let Count { done, would, with_parent, refused, .. } = count;
        let done = match would {
            0 => format!("{done} {}", self.done),
            would => format!("{would} would be {}", self.done),
        };
        let along = match with_parent {
            0 => String::new(),
            children => format!("{children} with a parent, "),
        };
        let rest = matched.saturating_sub(count.done + would + with_parent + refused);
        format!("{matched} matched, {done}, {along}{refused} refused, {rest} left alone")
    }

    fn words(&self, instance: &str, what: &What, is_batch: bool) -> String {
        let id = escape(instance);
        match what {
            What::Planned(plan) if is_batch => {
                format!("\"{id}\"  would {}", self::would(plan))
            }
            What::Planned(plan) => {
                let given = self.given.iter().map(|line| format!("\n  {line}"));
                in_words(&id, plan) + &given.collect::<String>()
            }
            What::Rewound(_) if !is_batch => String::new(),
            What::Rewound(done) => {
                format!("\"{id}\"  rewound: branch {}, {} events kept", done.branch, done.cut)
            }
            What::Done(1) => format!("\"{id}\"  {}", self.done),
            What::Done(family) => {
                format!("\"{id}\"  {}, with {} of its family", self.done, family.saturating_sub(1))
            }
            What::Would(_) => format!("\"{id}\"  would be {}", self.done),
            What::WithParent(parent) => format!("\"{id}\"  goes with its parent \"{}\"", escape(parent)),
            What::Runs(status) => format!("\"{id}\"  is {status}: left alone"),
            What::Refused(why) => format!("\"{id}\"  refused: {}", escape(why)),
            What::Stopped(why) => format!("stopped: {}", escape(why)),
            What::Matched(_) => String::new(),
        }
    }
}

/// Prints a line; whether somebody reads it.
fn is_written(text: &str) -> anyhow::Result<bool> {
    match out::line(text) {
        Err(error) if error.is::<out::Closed>() => Ok(false),
        printed => printed.map(|()| true),
    }
}

impl Count {
    fn add(&mut self, what: &What) {
        match what {
            What::Matched(matched) => return self.matched = Some(*matched),
            What::Stopped(_) => return self.stopped = true,
            What::Refused(_) => self.refused += 1,
            What::Rewound(_) | What::Done(_) => self.done += 1,
            What::Planned(_) | What::Would(_) => self.would += 1,
            What::WithParent(_) => self.with_parent += 1,
            What::Runs(_) => {}
        }
        self.seen += 1;
    }
}

fn name(work: &Work) -> String {
    if work.name.is_empty() { work.kind.to_lowercase() } else { escape(&work.name) }
}

/// What a plan does, on one line.
fn would(plan: &Plan) -> String {
    let names = |work: &[Work]| work.iter().map(name).collect::<Vec<_>>().join(", ");
    let quoted = |ids: &[String]| ids.iter().map(|id| format!("\"{}\"", escape(id))).collect::<Vec<_>>();
    let mut parts = Vec::new();
    match (plan.rerun.is_empty(), plan.reused.is_empty()) {
        (true, true) => parts.push("go on with its code from the cut".to_owned()),
        (false, true) => parts.push(format!("run again: {}", names(&plan.rerun))),
        (true, false) => {
            parts.push("run again what has no result".to_owned());
            parts.push(format!("use results of: {}", names(&plan.reused)));
        }
        (false, false) => {
            parts.push(format!("run again: {}", names(&plan.rerun)));
            parts.push(format!("use results of: {}", names(&plan.reused)));
        }
    }
    if !plan.in_doubt.is_empty() {
        parts.push(format!("leave in doubt: {}", names(&plan.in_doubt)));
    }
    if !plan.parents.is_empty() {
        parts.push(format!("take along: {}", quoted(&plan.parents).join(", ")));
    }
    parts.push(plan.because.clone());
    parts.join("; ")
}

fn in_words(id: &str, plan: &Plan) -> String {
    let head = plan.head.clone().unwrap_or_default();
    let mut lines = vec![
        format!(
            "\"{id}\" ({}): branch {} keeps {} of {} events of branch {}, {} turns",
            plan.status, plan.branch, plan.cut, head.events, plan.from_branch, plan.turns_kept
        ),
        format!("  the cut is {}", plan.because),
    ];
    lines.extend(plan.parents.iter().map(|parent| format!("  parent \"{}\" comes along", escape(parent))));
    for (what, work) in [
        ("runs again", &plan.rerun),
        ("is in doubt, and its policy decides", &plan.in_doubt),
        ("has a result to be used again", &plan.reused),
    ] {
        let each = work.iter();
        lines.extend(each.map(|w| format!("  {what}: {} (task {}, event {})", name(w), w.task, w.event)));
    }
    lines.push(format!("  delivered again: {} events {:?}", plan.carried.len(), plan.carried));
    lines.push(format!("  dropped: {} events {:?}", plan.dropped.len(), plan.dropped));
    for timer in &plan.timers {
        let (was, due) = (shown(timer.was.as_ref()), shown(timer.due.as_ref()));
        lines.push(format!("  timer {} was due {was}, is due {due}", timer.timer));
    }
    lines.extend(plan.starts.iter().map(|at| format!("  it starts at {}", shown(Some(at)))));
    lines.extend(plan.children.iter().map(|child| format!("  child \"{}\" comes along", escape(child))));
    let asked_again = plan.children_asked_again.iter();
    lines.extend(
        asked_again
            .map(|child| format!("  child \"{}\" comes along if the code asks for it again", escape(child))),
    );
    if !plan.visible.is_empty() {
        lines.push(format!("  the world has seen of what is dropped: events {:?}", plan.visible));
    }
    lines.join("\n")
}

fn as_json(instance: &str, what: &What) -> Value {
    match what {
        What::Planned(plan) => plan_as_json(instance, plan),
        What::Rewound(done) => {
            json!({ "instance": instance, "what": "rewound", "branch": done.branch, "cut": done.cut })
        }
        What::Done(count) => json!({ "instance": instance, "what": "done", "count": count }),
        What::Would(_) => json!({ "instance": instance, "what": "would" }),
        What::WithParent(parent) => json!({ "instance": instance, "what": "with_parent", "parent": parent }),
        What::Runs(status) => json!({ "instance": instance, "what": "runs", "status": status }),
        What::Refused(why) => json!({ "instance": instance, "what": "refused", "why": why }),
        What::Stopped(why) => json!({ "what": "stopped", "why": why }),
        What::Matched(count) => json!({ "what": "matched", "count": count }),
    }
}

fn plan_as_json(instance: &str, plan: &Plan) -> Value {
    let work = |work: &[Work]| -> Vec<Value> {
        let out = |w: &Work| json!({ "event": w.event, "task": w.task, "name": w.name, "kind": w.kind });
        work.iter().map(out).collect()
    };
    let timer = |timer: &Timer| {
        json!({
            "event": timer.event,
            "was": shown(timer.was.as_ref()),
            "due": shown(timer.due.as_ref()),
        })
    };
    let head = plan.head.clone().unwrap_or_default();
    json!({
        "instance": instance,
        "what": "planned",
        "status": plan.status,
        "events": head.events,
        "from_branch": plan.from_branch,
        "branch": plan.branch,
        "cut": plan.cut,
        "because": plan.because,
        "turns_kept": plan.turns_kept,
        "parents": plan.parents,
        "rerun": work(&plan.rerun),
        "in_doubt": work(&plan.in_doubt),
        "reused": work(&plan.reused),
        "carried": plan.carried,
        "dropped": plan.dropped,
        "visible": plan.visible,
        "timers": plan.timers.iter().map(timer).collect::<Vec<_>>(),
        "starts": plan.starts.as_ref().map(|at| shown(Some(at))),
        "children": plan.children,
        "children_asked_again": plan.children_asked_again,
    })
}
