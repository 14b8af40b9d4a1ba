//! The side of a store that readers use. Everything it returns is committed.

use crate::{BoxFuture, StoreError};
use perdura_core::partition::{HistoryRow, InstanceRow};
use perdura_core::{InstanceId, InstanceKey, Status, Timestamp};

/// How an instance is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// By its id.
    Id(InstanceId),
    /// By its key.
    Key(InstanceKey),
}

/// What an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstanceKind {
    /// An orchestration.
    #[default]
    Orchestration,
    /// An entity: its id begins with `@`.
    Entity,
}

/// Which instances to list. The default lists all orchestrations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceQuery {
    /// Of this kind.
    pub kind: InstanceKind,
    /// In one of these states; empty means any.
    pub statuses: Vec<Status>,
    /// Of this orchestration.
    pub name: Option<String>,
    /// With an id that begins so, byte by byte.
    pub id_prefix: Option<String>,
    /// Created at or after.
    pub created_from: Option<Timestamp>,
    /// Created before.
    pub created_before: Option<Timestamp>,
    /// Only those after this one: when the last of the page before was created, and its key.
    pub after: Option<(Timestamp, InstanceKey)>,
}

/// Which instances that have ended to list. The default lists all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedQuery {
    /// In one of these states; empty means any.
    pub statuses: Vec<Status>,
    /// Ended at or after.
    pub completed_from: Option<Timestamp>,
    /// Ended before.
    pub completed_before: Option<Timestamp>,
    /// Only those after this one: the last of the page before.
    pub after: Option<(Timestamp, InstanceId)>,
}

/// Committed instances and histories.
pub trait Instances: Send + Sync + 'static {
    /// The rows of some instances, in the order asked for; `None` where there is none.
    fn find(&self, wanted: Vec<Lookup>) -> BoxFuture<'_, Result<Vec<Option<InstanceRow>>, StoreError>>;

    /// History rows of one generation and branch, by rising event number, from the row that holds event `from`, until
    /// `bytes_max` is reached; at least one if there is one.
    fn history(
        &self,
        key: InstanceKey,
        generation: u32,
        branch: u32,
        from: u64,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>>;

    /// Instances that match, by rising time of creation and then by rising key, at most `limit`.
    fn query(
        &self,
        query: InstanceQuery,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InstanceRow>, StoreError>>;

    /// When instances ended, and their ids, by rising time and then by id, byte by byte; at most `limit`.
    fn ended(
        &self,
        query: EndedQuery,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Timestamp, InstanceId)>, StoreError>>;
}
