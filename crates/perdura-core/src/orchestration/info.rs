//! What an execution knows of itself.

use crate::history::ParentLink;
use crate::id::{ExecutionId, InstanceId, Tags};

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Info {
    /// Its instance.
    pub id: InstanceId,
    /// This run of it.
    pub execution: ExecutionId,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its parent, if it is a child.
    pub parent: Option<Box<ParentLink>>,
    /// Its tags.
    pub tags: Tags,
}

impl Info {
    /// The parent's instance id, if it is a child.
    #[must_use]
    pub fn parent_id(&self) -> Option<InstanceId> {
        self.parent.as_ref().map(|parent| InstanceId::recorded(&parent.instance))
    }
}
