//! Which of a hub's instances are meant, when something is done to many.

use crate::client::{Client, Listed};
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
    /// Only [dead letters](InstanceRecord::dead_letter).
    pub dead_letter: bool,
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
        Selection { query, tags, failure, dead_letter: false, ended_before, all: false, limit: usize::MAX }
    }
}

impl Selection {
    /// Every instance has a status and a kind: those alone leave nothing out that was not to be left out anyhow.
    fn is_unconditional(&self) -> bool {
        let query = InstanceQuery { statuses: Vec::new(), after: None, ..self.query.clone() };
        query == InstanceQuery::default()
            && self.tags.is_empty()
            && (&self.failure, self.ended_before, self.dead_letter) == (&None, None, false)
    }

    fn check(&self) -> Result<(), EngineError> {
        match self.is_unconditional() && !self.all {
            true => Err(EngineError::NoCondition),
            false => Ok(()),
        }
    }

    fn has(&self, record: &InstanceRecord) -> bool {
        let tagged = self.tags.iter().all(|(key, value)| record.tags.get(key) == Some(value));
        let failed = |text: &String| {
            record.failure.as_ref().is_some_and(|f| f.kind == *text || f.message.contains(text.as_str()))
        };
        let ended = |before: Timestamp| record.completed_at != 0 && record.completed_at < before.0;
        let dead = !self.dead_letter || record.dead_letter().is_some();
        tagged && dead && self.failure.as_ref().is_none_or(failed) && self.ended_before.is_none_or(ended)
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
        selection.check()?;
        let mut ids = Vec::new();
        self.visit(selection, statuses, |listed| ids.push(listed.record.instance_id())).await?;
        Ok(ids)
    }

    /// The same, with their records.
    pub(crate) async fn select_listed(
        &self,
        selection: &Selection,
        statuses: &[Status],
    ) -> Result<Vec<Listed>, EngineError> {
        selection.check()?;
        let mut found = Vec::new();
        self.visit(selection, statuses, |listed| found.push(listed)).await?;
        Ok(found)
    }

    /// The same, as they are; without a condition, and at most `limit` of the selection, the oldest of the hub.
    pub async fn look_at(&self, selection: &Selection) -> Result<Vec<Listed>, EngineError> {
        let mut found = Vec::new();
        self.visit(selection, &[], |listed| found.push(listed)).await?;
        Ok(found)
    }

    async fn visit(
        &self,
        selection: &Selection,
        statuses: &[Status],
        mut visit: impl FnMut(Listed),
    ) -> Result<(), EngineError> {
        let mut query = selection.query.clone();
        if query.statuses.is_empty() {
            query.statuses = statuses.to_vec();
        }
        let mut left = selection.limit;
        while left > 0 {
            let page = self.list(query.clone(), PAGE).await?;
            let Some(last) = page.last() else { break };
            query.after = Some((Timestamp(last.record.created_at), last.key));
            let meant =
                page.into_iter().filter(|listed| listed.damage.is_none() && selection.has(&listed.record));
            for listed in meant.take(left) {
                left -= 1;
                visit(listed);
            }
        }
        Ok(())
    }
}
