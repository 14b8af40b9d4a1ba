//! What was recorded before the kill, and what ran after it.

use super::Places;
use super::file_path::FilePath;
use super::pipeline::{archive_file, archive_files, archive_folder};
use anyhow::Context;
use perdura_core::history::EventKind;
use perdura_sqlite::SqliteStore;
use perdura_store::{InstanceQuery, Instances};
use std::collections::{BTreeMap, BTreeSet};

/// Files whose completion the hub has recorded.
pub async fn recorded(places: &Places) -> anyhow::Result<BTreeSet<FilePath>> {
    let store = SqliteStore::open_read_only(places.hub())?;
    let mut files = BTreeSet::new();
    for name in [archive_folder::NAME, archive_files::NAME] {
        recorded_by(&store, name, &mut files).await?;
    }
    Ok(files)
}

/// Files whose completion instances of this orchestration have recorded.
async fn recorded_by(store: &SqliteStore, name: &str, files: &mut BTreeSet<FilePath>) -> anyhow::Result<()> {
    let mut query = InstanceQuery { name: Some(name.into()), ..InstanceQuery::default() };
    loop {
        let rows = store.query(query.clone(), 500).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        query.after = Some((last.created_at, last.key));
        for row in rows {
            let mut scheduled = BTreeMap::new();
            // Events that arrived but were not taken by a turn yet are recorded too.
            let mut events = row.open()?.inbox_events()?;
            let history = store.history(row.key, row.generation, row.branch, 0, usize::MAX).await?;
            for part in history.iter().rev() {
                events.splice(0..0, part.open()?);
            }
            for event in events {
                match event.kind {
                    EventKind::TaskScheduled(task) if task.name == archive_file::NAME => {
                        scheduled.insert(task.id, task.input.unwrap_or_default());
                    }
                    EventKind::TaskCompleted(done) => {
                        if let Some(input) = scheduled.get(&done.id) {
                            files.insert(serde_json::from_slice(input)?);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Runs of the activity that archives a file, by process.
pub fn runs(places: &Places) -> anyhow::Result<BTreeMap<u32, Vec<FilePath>>> {
    let text = std::fs::read_to_string(places.runs()).context("the record of runs")?;
    let mut runs: BTreeMap<u32, Vec<FilePath>> = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, '\t');
        let process = fields.next().and_then(|process| process.parse().ok());
        if let (Some(process), Some(_), Some(path)) = (process, fields.next(), fields.next()) {
            runs.entry(process).or_default().push(serde_json::from_str(path)?);
        }
    }
    Ok(runs)
}
