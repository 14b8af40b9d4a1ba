//! Which of a hub's instances are meant, when something is done to many.

use crate::client::Client;
use crate::error::EngineError;
use perdura_core::partition::InstanceRecord;
use perdura_core::{InstanceId, Status, Tags, Timestamp};
use perdura_store::InstanceQuery;

/// Rows read at once.
const PAGE: usize = 1000;

/// Which instances of a hub are meant: those that meet all conditions.
#[derive(Clone, Debug)]
pub struct Selection {
    /// By status, name, beginning of the id, and time of creation. Without statuses: those in which what is to be done
    /// makes sense.
    pub query: InstanceQuery,
    /// Only with these tags.
    pub tags: Tags,
    /// Only those whose failure is of this type, or has this in its message.
    pub failure: Option<String>,
    /// Only those that ended before.
    pub ended_before: Option<Timestamp>,
    /// There is no condition, and that is meant: every instance of the hub in these statuses.
    pub all: bool,
    /// At most so many, the oldest.
    pub limit: usize,
}

impl From<InstanceQuery> for Selection {
    fn from(query: InstanceQuery) -> Selection {
        let (tags, failure, ended_before) = (Tags::new(), None, None);
        Selection { query, tags, failure, ended_before, all: false, limit: usize::MAX }
    }
}

impl Selection {
    /// Every instance has a status and a kind: those alone leave nothing out that was not to be left out anyhow.
    fn is_unconditional(&self) -> bool {
        let query = InstanceQuery { statuses: Vec::new(), after: None, ..self.query.clone() };
        query == InstanceQuery::default()
            && self.tags.is_empty()
            && (&self.failure, self.ended_before) == (&None, None)
    }

    fn has(&self, record: &InstanceRecord) -> bool {
        let tagged = self.tags.iter().all(|(key, value)| record.tags.get(key) == Some(value));
        let failed = |text: &String| {
            record.failure.as_ref().is_some_and(|f| f.kind == *text || f.message.contains(text.as_str()))
        };
        let ended = |before: Timestamp| record.completed_at != 0 && record.completed_at < before.0;
        tagged && self.failure.as_ref().is_none_or(failed) && self.ended_before.is_none_or(ended)
    }
}

impl Client {
    /// The instances that are meant, by rising time of creation. Without statuses in the selection, those in `statuses`.
    /// A selection without a condition is refused, unless it says that all are meant. A damaged instance is not among
    /// them, since nobody knows whether it meets the conditions.
    pub async fn select(
        &self,
        selection: &Selection,
        statuses: &[Status],
    ) -> Result<Vec<InstanceId>, EngineError> {
        if selection.is_unconditional() && !selection.all {
            return Err(EngineError::NoCondition);
        }
        let mut query = selection.query.clone();
        if query.statuses.is_empty() {
            query.statuses = statuses.to_vec();
        }
        let mut ids = Vec::new();
        while ids.len() < selection.limit {
            let page = self.list(query.clone(), PAGE).await?;
            let Some(last) = page.last() else { break };
            query.after = Some((Timestamp(last.record.created_at), last.key));
            let meant = page.iter().filter(|listed| listed.damage.is_none() && selection.has(&listed.record));
            ids.extend(meant.map(|listed| listed.record.instance_id()));
        }
        ids.truncate(selection.limit);
        Ok(ids)
    }
}
