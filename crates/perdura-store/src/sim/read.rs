//! Reads of the simulated store.

use super::contents::{Contents, HistoryKey};
use crate::{EndedQuery, InstanceKind, InstanceQuery, Lookup};
use perdura_core::partition::{Envelope, EnvelopeId, HistoryRow, InstanceRow};
use perdura_core::{InstanceId, InstanceKey, PartitionId, Timestamp};
use std::ops::Bound;

impl Contents {
    pub(super) fn find(&self, wanted: &Lookup) -> Option<InstanceRow> {
        let key = match wanted {
            Lookup::Id(id) => self.keys.get(id)?,
            Lookup::Key(key) => key,
        };
        self.instances.get(key).cloned()
    }

    pub(super) fn unfinished(
        &self,
        partition: PartitionId,
        after: Option<InstanceKey>,
        limit: usize,
    ) -> Vec<InstanceRow> {
        self.instances_after(after)
            .filter(|row| row.key.partition() == partition && !row.status.is_terminal())
            .take(limit)
            .cloned()
            .collect()
    }

    pub(super) fn messages(
        &self,
        partition: PartitionId,
        after: Option<EnvelopeId>,
        limit: usize,
    ) -> Vec<Envelope> {
        self.envelopes
            .iter()
            .filter(|((to, id), _)| *to == partition && after.is_none_or(|after| *id > after))
            .map(|(_, envelope)| envelope.clone())
            .take(limit)
            .collect()
    }

    pub(super) fn history(&self, history: HistoryKey, from: u64, bytes_max: usize) -> Vec<HistoryRow> {
        let rows = self.histories.get(&history).into_iter().flat_map(|rows| rows.values());
        let mut bytes = 0_usize;
        rows.skip_while(|row| row.first + u64::from(row.count) <= from)
            .enumerate()
            .take_while(|(index, row)| {
                let before = bytes;
                bytes += row.events.len();
                *index == 0 || before < bytes_max
            })
            .map(|(_, row)| row.clone())
            .collect()
    }

    pub(super) fn query(&self, query: &InstanceQuery, limit: usize) -> Vec<InstanceRow> {
        let matches = |row: &&InstanceRow| {
            (row.id.as_str().starts_with('@') == (query.kind == InstanceKind::Entity))
                && (query.statuses.is_empty() || query.statuses.contains(&row.status))
                && query.name.as_ref().is_none_or(|name| row.name == *name)
                && query.id_prefix.as_ref().is_none_or(|prefix| row.id.as_str().starts_with(prefix))
                && query.created_from.is_none_or(|from| row.created_at >= from)
                && query.created_before.is_none_or(|before| row.created_at < before)
                && query.after.is_none_or(|after| (row.created_at, row.key) > after)
        };
        let mut found: Vec<_> = self.instances.values().filter(matches).collect();
        found.sort_by_key(|row| (row.created_at, row.key));
        found.into_iter().take(limit).cloned().collect()
    }

    pub(super) fn ended(&self, query: &EndedQuery, limit: usize) -> Vec<(Timestamp, InstanceId)> {
        let matches = |row: &InstanceRow| {
            let at = row.completed_at?;
            let matches = (query.statuses.is_empty() || query.statuses.contains(&row.status))
                && query.completed_from.is_none_or(|from| at >= from)
                && query.completed_before.is_none_or(|before| at < before)
                && query.after.as_ref().is_none_or(|(time, id)| (at, &row.id) > (*time, id));
            matches.then(|| (at, row.id.clone()))
        };
        let mut found: Vec<_> = self.instances.values().filter_map(matches).collect();
        found.sort();
        found.truncate(limit);
        found
    }

    fn instances_after(&self, after: Option<InstanceKey>) -> impl Iterator<Item = &InstanceRow> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.instances.range((from, Bound::Unbounded)).map(|(_, row)| row)
    }
}
