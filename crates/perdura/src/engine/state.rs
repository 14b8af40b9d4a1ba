//! What is known of an instance.

use super::ClientError;
use crate::payload::{FromPayload, read};
use perdura_core::partition::InstanceRecord;
use perdura_core::{ExecutionId, Failure, InstanceId, InstanceKey, Status, Tags, Timestamp};
use perdura_engine::Listed;

/// What is known of an instance, as it was when asked.
#[derive(Clone, Debug)]
pub struct InstanceState {
    key: Option<InstanceKey>,
    record: InstanceRecord,
    damage: Option<String>,
}

impl InstanceState {
    pub(super) fn new(key: Option<InstanceKey>, record: InstanceRecord) -> InstanceState {
        InstanceState { key, record, damage: None }
    }

    pub(super) fn listed(listed: Listed) -> InstanceState {
        let Listed { key, record, damage } = listed;
        InstanceState { key: Some(key), record, damage: damage.map(|damage| damage.to_string()) }
    }

    /// Its place in a list; `None` if it does not come from one.
    #[must_use]
    pub fn key(&self) -> Option<InstanceKey> {
        self.key
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.record.instance_id()
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> Status {
        // A record with another number is damage, which is found when the record is opened.
        self.record.status().unwrap_or_default()
    }

    /// The orchestration's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The orchestration's version; empty if it has none.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.record.version
    }

    /// The present run.
    #[must_use]
    pub fn execution_id(&self) -> ExecutionId {
        self.record.execution.id()
    }

    /// Its tags.
    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.record.tags
    }

    /// When it was started.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        Timestamp(self.record.created_at)
    }

    /// When something last happened to it.
    #[must_use]
    pub fn updated_at(&self) -> Timestamp {
        Timestamp(self.record.updated_at)
    }

    /// When it ended.
    #[must_use]
    pub fn completed_at(&self) -> Option<Timestamp> {
        (self.record.completed_at != 0).then_some(Timestamp(self.record.completed_at))
    }

    /// Why it did not end well.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.record.failure.as_deref()
    }

    /// Why it is suspended.
    #[must_use]
    pub fn suspended(&self) -> Option<&str> {
        self.record.suspended.as_deref()
    }

    /// Why it is a dead letter, if it is one: too many processes or workers were lost to its turn, and it is suspended until
    /// somebody resumes it; or to one of its activities, and it has failed.
    #[must_use]
    pub fn dead_letter(&self) -> Option<&str> {
        self.record.dead_letter()
    }

    /// Why it cannot go on although it has work, and what to do: its code is not registered, or does not follow its
    /// history.
    #[must_use]
    pub fn blocked(&self) -> Option<&str> {
        self.record.block.as_ref().map(|block| block.reason.as_str())
    }

    /// What is damaged of what is stored of it, if anything is. Then the rest of what is said here is what can still be
    /// read; the instance is not run. Purge it, or restore the hub from a backup.
    #[must_use]
    pub fn damaged(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// What it returned.
    pub fn output<T: FromPayload>(&self) -> Result<T, ClientError> {
        read(self.record.output.clone(), || "output".into()).map_err(|error| ClientError::payload(&error))
    }

    /// What it said last of itself.
    pub fn custom_status<T: FromPayload>(&self) -> Result<T, ClientError> {
        read(self.record.custom_status.clone(), || "custom status".into())
            .map_err(|error| ClientError::payload(&error))
    }
}
