//! Names and numbers of things. Text ids are checked when they are made, so that everything behind can trust them.

use crate::delivery::KEY_TAG;
use crate::limits::{
    INSTANCE_ID_BYTES_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX, TEXT_BYTES_MAX,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Tags of an instance or a task.
pub type Tags = BTreeMap<String, String>;

/// A text that breaks a rule. Tells the field, what is wrong and the limit; never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Nothing there.
    #[error("{field} must not be empty")]
    Empty {
        /// Which text.
        field: &'static str,
    },
    /// Over the limit.
    #[error("{field}: {bytes} bytes, limit {limit}")]
    TooLong {
        /// Which text.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest that is allowed.
        limit: usize,
    },
    /// A control character.
    #[error("{field}: control character at byte {at}")]
    Control {
        /// Which text.
        field: &'static str,
        /// Where.
        at: usize,
    },
    /// A prefix that the engine keeps for itself.
    #[error("{field}: the prefix {prefix:?} is reserved")]
    Reserved {
        /// Which text.
        field: &'static str,
        /// The prefix.
        prefix: &'static str,
    },
    /// A text that must not be part of it.
    #[error("{field}: {what:?} is not allowed")]
    NotAllowed {
        /// Which text.
        field: &'static str,
        /// What it must not contain.
        what: &'static str,
    },
    /// Another form.
    #[error("{field} must have the form {form}")]
    Form {
        /// Which text.
        field: &'static str,
        /// How it must look.
        form: &'static str,
    },
    /// Too many entries.
    #[error("{field}: {count} entries, limit {limit}")]
    TooMany {
        /// Which list.
        field: &'static str,
        /// How many.
        count: usize,
        /// The most that is allowed.
        limit: usize,
    },
}

fn check(field: &'static str, text: &str, limit: usize, may_be_empty: bool) -> Result<(), InvalidText> {
    if text.is_empty() && !may_be_empty {
        return Err(InvalidText::Empty { field });
    }
    if text.len() > limit {
        return Err(InvalidText::TooLong { field, bytes: text.len(), limit });
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(InvalidText::Control { field, at }),
        None => Ok(()),
    }
}

/// Checks a name of an orchestration, activity, event or handler.
pub fn check_name(field: &'static str, name: &str) -> Result<(), InvalidText> {
    check(field, name, NAME_BYTES_MAX, false)
}

/// Checks a text that may be empty: a version, a reason, a request id.
pub fn check_text(field: &'static str, text: &str) -> Result<(), InvalidText> {
    check(field, text, TEXT_BYTES_MAX, true)
}

/// Checks an idempotency key, or the id of an event.
pub fn check_key(field: &'static str, key: &str) -> Result<(), InvalidText> {
    check(field, key, KEY_BYTES_MAX, false)
}

/// Checks tags: how many, and the length of each key and value.
pub fn check_tags(tags: &Tags) -> Result<(), InvalidText> {
    if tags.len() > TAGS_MAX {
        return Err(InvalidText::TooMany { field: "tags", count: tags.len(), limit: TAGS_MAX });
    }
    for (key, value) in tags {
        check("tag key", key, TAG_BYTES_MAX, false)?;
        match key.as_str() {
            KEY_TAG => check("idempotency key (tag \"perdura.key\")", value, KEY_BYTES_MAX, true)?,
            _ => check("tag value", value, TAG_BYTES_MAX, true)?,
        }
    }
    Ok(())
}

/// The id that a user gives an instance: 1 to 512 bytes of UTF-8 without control characters. Compared byte by byte.
///
/// ```
/// use perdura_core::InstanceId;
/// assert!(InstanceId::new("order-42").is_ok());
/// assert_eq!(InstanceId::new("").unwrap_err().to_string(), "instance id must not be empty");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    const FIELD: &'static str = "instance id";

    /// Takes an id from outside.
    pub fn new(id: &str) -> Result<InstanceId, InvalidText> {
        check(Self::FIELD, id, INSTANCE_ID_BYTES_MAX, false)?;
        for prefix in ["@", "__"] {
            if id.starts_with(prefix) {
                return Err(InvalidText::Reserved { field: Self::FIELD, prefix });
            }
        }
        Ok(InstanceId(id.into()))
    }

    /// Takes an id that was checked when it was recorded.
    pub(crate) fn recorded(id: &str) -> InstanceId {
        InstanceId(id.into())
    }

    /// The id of a child that was given none: parent, execution, task, and branch if it is not the first. Generations would
    /// not do, for they begin at 1 again after a purge, and the child of the earlier run may still be there; half of the
    /// execution's random digits tell them apart. After a rewind a task may have the number of another one before it. An id
    /// that would be too long keeps its head and gets a checksum of the whole.
    pub(crate) fn of_child(
        parent: &InstanceId,
        execution: ExecutionId,
        (branch, task): (u32, u32),
    ) -> InstanceId {
        let execution = (execution.0 >> 64) as u64;
        let mut id = format!("{parent}:{execution:016x}:{task:04x}");
        if branch > 0 {
            id = format!("{id}.{branch}");
        }
        if id.len() <= INSTANCE_ID_BYTES_MAX {
            return InstanceId(id.into());
        }
        let mut head = INSTANCE_ID_BYTES_MAX - 64;
        while !parent.as_str().is_char_boundary(head) {
            head -= 1;
        }
        let hash = fnv1a_128(id.as_bytes());
        InstanceId(format!("{}~{hash:032x}:{task:04x}", &parent.as_str()[..head]).into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition of `count` that this id belongs to. FNV-1a, so that it never changes with a compiler or a library.
    #[must_use]
    pub fn partition(&self, count: u16) -> PartitionId {
        let hash = fnv1a_128(self.0.as_bytes());
        PartitionId((((hash >> 64) ^ hash) as u64 % u64::from(count.max(1))) as u16)
    }
}

/// FNV-1a, 128 bits (Fowler, Noll, Vo; draft-eastlake-fnv).
fn fnv1a_128(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A partition of a task hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u16);

/// The integer that stands for an instance id inside a hub. The partition is in the top 16 bits, so keys of one
/// partition are a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey(pub u64);

impl InstanceKey {
    const NUMBER_BITS: u32 = 47;

    /// The `number`th key of `partition`. Fits a signed 64-bit column.
    #[must_use]
    pub fn new(partition: PartitionId, number: u64) -> InstanceKey {
        InstanceKey(u64::from(partition.0) << Self::NUMBER_BITS | number)
    }

    /// Which partition the key belongs to.
    #[must_use]
    pub fn partition(self) -> PartitionId {
        PartitionId((self.0 >> Self::NUMBER_BITS) as u16)
    }

    /// Its number within the partition.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0 & ((1 << Self::NUMBER_BITS) - 1)
    }
}

/// One run of an instance: new with every start, replacement and continue-as-new. 32 lower-case hex digits as text.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId(pub u128);

impl ExecutionId {
    /// The id of its 16 bytes as records keep them; 0 if they are not 16.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> ExecutionId {
        ExecutionId(u128::from_be_bytes(<[u8; 16]>::try_from(bytes).unwrap_or_default()))
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_instance_ids_say_what_is_wrong() {
        let message = |id: &str| InstanceId::new(id).unwrap_err().to_string();
        assert_eq!(message(""), "instance id must not be empty");
        assert_eq!(message(&"x".repeat(513)), "instance id: 513 bytes, limit 512");
        assert_eq!(message("ab\0"), "instance id: control character at byte 2");
        assert_eq!(message("@counter@a"), "instance id: the prefix \"@\" is reserved");
        assert_eq!(message("__hub"), "instance id: the prefix \"__\" is reserved");
    }

    #[test]
    fn odd_instance_ids_are_taken_as_they_are() {
        for id in ["../../x", "'; drop table", "<script>", "%00", "a ", "Straße", &"😀".repeat(128)] {
            assert_eq!(InstanceId::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn a_child_id_never_outgrows_the_limit_and_stays_distinct() {
        let parent = InstanceId::new(&"ü".repeat(256)).unwrap();
        let (first, second) = (ExecutionId(1 << 64), ExecutionId(2 << 64));
        let a = InstanceId::of_child(&parent, first, (0, 1));
        assert!(a.as_str().len() <= INSTANCE_ID_BYTES_MAX);
        assert_ne!(a, InstanceId::of_child(&parent, first, (0, 2)));
        assert_ne!(a, InstanceId::of_child(&parent, second, (0, 1)));
    }

    #[test]
    fn the_partition_of_an_id_is_fixed_for_ever() {
        // These numbers are stored in hubs: a change of the hash would lose instances.
        assert_eq!(InstanceId::new("order-42").unwrap().partition(1), PartitionId(0));
        assert_eq!(InstanceId::new("order-42").unwrap().partition(32), PartitionId(23));
        let spread: std::collections::BTreeSet<_> =
            (0..200).map(|i| InstanceId::new(&format!("order-{i}")).unwrap().partition(32)).collect();
        assert_eq!(spread.len(), 32);
    }

    #[test]
    fn a_key_knows_its_partition() {
        let key = InstanceKey::new(PartitionId(31), 12345);
        assert_eq!((key.partition(), key.number()), (PartitionId(31), 12345));
        assert!(i64::try_from(InstanceKey::new(PartitionId(u16::MAX), 1).0).is_ok());
    }
}
