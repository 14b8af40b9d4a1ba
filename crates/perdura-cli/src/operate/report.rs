//! What is printed of what was done: a line for each instance, and how far it has come.

use super::hub::refused;
use super::time::shown;
use crate::escape::escape;
use perdura_proto::operator::report::What;
use perdura_proto::operator::{Plan, Report, Timer, Work};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
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
}

#[derive(Default)]
struct Count {
    matched: Option<u64>,
    seen: u64,
    done: u64,
    refused: u64,
    stopped: bool,
}

impl Printer {
    /// Prints reports as they come. Success means that nothing was refused.
    pub async fn print(&self, mut reports: Streaming<Report>) -> anyhow::Result<ExitCode> {
        let (mut count, mut told) = (Count::default(), Instant::now());
        let shows_progress = std::io::stderr().is_terminal();
        let mut out = std::io::stdout();
        while let Some(report) = reports.message().await.map_err(refused)? {
            let Some(what) = report.what else { continue };
            count.add(&what);
            let is_batch = count.matched.is_some();
            let text = match self.json {
                true => as_json(&report.instance, &what).to_string(),
                false => self.words(&report.instance, &what, is_batch),
            };
            if !text.is_empty() {
                writeln!(out, "{text}")?;
            }
            if shows_progress && is_batch && told.elapsed() > PROGRESS_EVERY {
                told = Instant::now();
                eprintln!("{} of {}, {} refused", count.seen, count.matched.unwrap_or(0), count.refused);
            }
        }
        if let Some(matched) = count.matched
            && !self.json
        {
            let Count { done, refused, seen, .. } = count;
            let rest = matched.saturating_sub(seen);
            writeln!(out, "{matched} matched, {done} {}, {refused} refused, {rest} left alone", self.done)?;
        }
        let is_well = count.refused == 0 && !count.stopped;
        if let Some(last) = self.last.filter(|_| is_well && !self.json) {
            writeln!(out, "{last}")?;
        }
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn words(&self, instance: &str, what: &What, is_batch: bool) -> String {
        let id = escape(instance);
        match what {
            What::Planned(plan) if is_batch => {
                let names: Vec<_> = plan.rerun.iter().map(name).collect();
                format!("\"{id}\"  would run again: {}; {}", names.join(", "), plan.because)
            }
            What::Planned(plan) => in_words(&id, plan),
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

impl Count {
    fn add(&mut self, what: &What) {
        match what {
            What::Matched(matched) => return self.matched = Some(*matched),
            What::Stopped(_) => return self.stopped = true,
            What::Refused(_) => self.refused += 1,
            What::Rewound(_) | What::Done(_) => self.done += 1,
            _ => {}
        }
        self.seen += 1;
    }
}

fn name(work: &Work) -> String {
    if work.name.is_empty() { work.kind.to_lowercase() } else { escape(&work.name) }
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
    for (what, work) in [("runs again", &plan.rerun), ("has a result to be used again", &plan.reused)] {
        let each = work.iter();
        lines.extend(each.map(|w| format!("  {what}: {} (task {}, event {})", name(w), w.task, w.event)));
    }
    lines.push(format!("  delivered again: {} events {:?}", plan.carried.len(), plan.carried));
    lines.push(format!("  dropped: {} events {:?}", plan.dropped.len(), plan.dropped));
    for timer in &plan.timers {
        let (was, due) = (shown(timer.was.as_ref()), shown(timer.due.as_ref()));
        lines.push(format!("  timer {} was due {was}, is due {due}", timer.timer));
    }
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
        "rerun": work(&plan.rerun),
        "reused": work(&plan.reused),
        "carried": plan.carried,
        "dropped": plan.dropped,
        "visible": plan.visible,
        "timers": plan.timers.iter().map(timer).collect::<Vec<_>>(),
        "children": plan.children,
        "children_asked_again": plan.children_asked_again,
    })
}
