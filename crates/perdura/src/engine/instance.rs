//! A handle to one instance.

use super::Rewind;
use super::access::Access;
use super::{ClientError, InstanceState};
use crate::delivery::Verdict;
use crate::payload::{FromPayload, ToPayload, read};
use perdura_core::history::Event;
use perdura_core::partition::InstanceRecord;
use perdura_core::rewind::{BranchRecord, RewindPlan};
use perdura_core::why::Wait;
use perdura_core::{InstanceId, InvalidText, Status, check_key};
use perdura_engine::{EngineError, RestartUnder, Rewound};

/// A handle to the instance with some id, from [`Client::instance`](super::Client::instance). An id that breaks the
/// rules is an error at the first use.
#[derive(Clone)]
pub struct Instance {
    access: Access,
    id: Result<InstanceId, InvalidText>,
}

impl Instance {
    pub(super) fn new(access: Access, id: Result<InstanceId, InvalidText>) -> Instance {
        Instance { access, id }
    }

    fn id(&self) -> Result<InstanceId, ClientError> {
        Ok(self.id.clone()?)
    }

    /// Waits until the instance has ended and gives its output.
    pub async fn wait<T: FromPayload>(&self) -> Result<T, ClientError> {
        output(self.access.open()?.wait(self.id()?, None).await?)
    }

    /// Sends an external event. It is durable when this returns, whether the instance waits for it yet or not.
    pub async fn raise(&self, name: &str, value: &(impl ToPayload + ?Sized)) -> Result<(), ClientError> {
        let input = value.to_payload().map_err(|error| ClientError::payload(&error))?;
        Ok(self.access.open()?.raise_event(self.id()?, name.to_owned(), input).await?)
    }

    /// The same, for an event that has a name of its own: one whose `event_id`, of at most 512 bytes, is among the last 128
    /// that came is not taken again, and that is success. So it may be sent again when nobody knows what became of it.
    ///
    /// # Errors
    ///
    /// The id came with another name or value before, or has no text, or more than 512 bytes; and those of [`raise`](Self::raise).
    pub async fn raise_once(
        &self,
        name: &str,
        value: &(impl ToPayload + ?Sized),
        event_id: &str,
    ) -> Result<(), ClientError> {
        check_key("event id", event_id)?;
        let input = value.to_payload().map_err(|error| ClientError::payload(&error))?;
        let (name, event_id) = (name.to_owned(), event_id.to_owned());
        Ok(self.access.open()?.raise_event_once(self.id()?, name, input, event_id).await?)
    }

    /// Stops the instance until it is resumed; everything that arrives is kept.
    /// One that has ended stays as it is, and that is success.
    pub async fn suspend(&self, reason: &str) -> Result<(), ClientError> {
        Ok(self.access.open()?.suspend(self.id()?, reason.to_owned()).await?)
    }

    /// Lets a suspended instance go on. One that has ended stays as it is, and that is success.
    pub async fn resume(&self, reason: &str) -> Result<(), ClientError> {
        Ok(self.access.open()?.resume(self.id()?, reason.to_owned()).await?)
    }

    /// Says what follows for an activity of which nobody knows whether it ran, and lets the instance go on if it was
    /// suspended for that. `task` may be `None` if there is only one; `by` says who decides, and why.
    pub async fn resolve(&self, task: Option<u32>, verdict: Verdict, by: &str) -> Result<(), ClientError> {
        let answer = verdict.into_answer().map_err(|error| ClientError::payload(&error))?;
        Ok(self.access.open()?.resolve(self.id()?, task, answer, by.to_owned()).await?)
    }

    /// Asks the instance to end by its own code: what it waits for fails, and it may clean up.
    /// One that has ended stays as it is, and that is success.
    pub async fn cancel(&self, reason: &str) -> Result<(), ClientError> {
        Ok(self.access.open()?.cancel(self.id()?, reason.to_owned()).await?)
    }

    /// Ends the instance by force, its children too if `recurse`.
    /// One that has ended stays as it is, and that is success.
    pub async fn terminate(&self, reason: &str, recurse: bool) -> Result<(), ClientError> {
        Ok(self.access.open()?.terminate(self.id()?, reason.to_owned(), recurse).await?)
    }

    /// Removes the instance, which has ended, with its history.
    pub async fn purge(&self) -> Result<(), ClientError> {
        Ok(self.access.open()?.purge(self.id()?).await?)
    }

    /// Removes the instance, which has ended, with its history, and before it all that it has started and that has ended.
    /// Gives how many were removed.
    pub async fn purge_family(&self) -> Result<u64, ClientError> {
        Ok(self.access.open()?.purge_family(self.id()?).await?)
    }

    /// Starts the instance, which has ended, once more under its id, with what it began with. Its history is replaced; to
    /// keep it, and to use its results again, rewind it [to the beginning](Rewind::to_beginning).
    pub async fn restart(&self) -> Result<(), ClientError> {
        let restarted = self.access.open()?.restart(&self.id()?, RestartUnder::SameId).await;
        Ok(restarted.map(drop)?)
    }

    /// What is known of the instance; `None` if there is none.
    pub async fn get(&self) -> Result<Option<InstanceState>, ClientError> {
        let record = self.access.open()?.get(&self.id()?).await?;
        Ok(record.map(|record| InstanceState::new(None, record)))
    }

    /// What the instance waits for, since when, who is to answer, and what is missing; `None` if there is none.
    pub async fn why(&self) -> Result<Option<Vec<Wait>>, ClientError> {
        Ok(self.access.open()?.why(&self.id()?).await?)
    }

    /// What a rewind would do to the instance, as it is now. Nothing is changed.
    pub async fn plan_rewind(&self, rewind: &Rewind) -> Result<RewindPlan, ClientError> {
        if let Some(error) = &rewind.error {
            return Err(error.clone());
        }
        Ok(self.access.open()?.plan_rewind(&self.id()?, &rewind.spec).await?)
    }

    /// Takes the instance back to an earlier point of its history and lets it go on from there. Durable when this
    /// returns, and the instance runs then.
    pub async fn rewind(&self, rewind: Rewind) -> Result<Rewound, ClientError> {
        match rewind.error {
            Some(error) => Err(error),
            None => Ok(self.access.open()?.rewind(self.id()?, rewind.spec).await?),
        }
    }

    /// The branches that rewinds have opened, oldest first; branch 0 is not among them. `None` if there is no instance.
    pub async fn branches(&self) -> Result<Option<Vec<BranchRecord>>, ClientError> {
        let record = self.access.open()?.get(&self.id()?).await?;
        Ok(record.map(|record| record.branches().to_vec()))
    }

    /// The history of a branch of its present execution; `None` if there is no such instance or branch.
    pub async fn branch_history(&self, branch: u32) -> Result<Option<Vec<Event>>, ClientError> {
        Ok(self.access.open()?.branch_history(&self.id()?, branch).await?)
    }

    /// The history of its present execution; `None` if there is no such instance.
    pub async fn history(&self) -> Result<Option<Vec<Event>>, ClientError> {
        Ok(self.access.open()?.history(&self.id()?).await?)
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Instance").field(&self.id).finish()
    }
}

/// The output of an instance that has ended.
pub(super) fn output<T: FromPayload>(record: InstanceRecord) -> Result<T, ClientError> {
    let id = record.instance_id();
    let status = record.status().map_err(|what| EngineError::Damaged { id: id.to_string(), what })?;
    if status != Status::Completed {
        let failure = record.failure.unwrap_or_default();
        return Err(ClientError::NotCompleted { id, status, failure });
    }
    read(record.output, || format!("output of instance {id:?}")).map_err(|error| ClientError::payload(&error))
}
