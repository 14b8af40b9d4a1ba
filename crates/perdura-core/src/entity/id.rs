//! The name and key of an entity, and the instance id that they make.

use crate::id::{InstanceId, InvalidText, check_name};
use crate::limits::INSTANCE_ID_BYTES_MAX;
use std::fmt;

/// An entity: which kind of thing, and which one. As an instance id it is `@name@key`.
///
/// ```
/// use perdura_core::EntityId;
/// let id = EntityId::new("counter", "page/1").unwrap();
/// assert_eq!((id.name(), id.key(), id.to_string()), ("counter", "page/1", "@counter@page/1".into()));
/// assert_eq!(EntityId::new("a@b", "1").unwrap_err().to_string(), "entity name: \"@\" is not allowed");
/// assert_eq!(EntityId::new("counter", "").unwrap_err().to_string(), "entity key must not be empty");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId(InstanceId);

impl EntityId {
    /// The entity of a name and a key. The name has 1 to 256 bytes and no `@`; name and key together at most 510 bytes; no
    /// control characters.
    pub fn new(name: &str, key: &str) -> Result<EntityId, InvalidText> {
        if key.is_empty() {
            return Err(InvalidText::Empty { field: "entity key" });
        }
        EntityId::of_any_key(name, key)
    }

    /// The same, with a key that may be empty, as the DurableTask protocol allows.
    pub fn of_any_key(name: &str, key: &str) -> Result<EntityId, InvalidText> {
        check_name("entity name", name)?;
        if name.contains('@') {
            return Err(InvalidText::NotAllowed { field: "entity name", what: "@" });
        }
        if let Some((at, _)) = key.char_indices().find(|(_, c)| c.is_control()) {
            return Err(InvalidText::Control { field: "entity key", at });
        }
        let id = ["@", name, "@", key].concat();
        if id.len() > INSTANCE_ID_BYTES_MAX {
            let limit = INSTANCE_ID_BYTES_MAX - name.len() - 2;
            return Err(InvalidText::TooLong { field: "entity key", bytes: key.len(), limit });
        }
        Ok(EntityId(InstanceId::recorded(&id)))
    }

    /// The entity of an instance id of the form `@name@key`, from outside.
    pub fn parse(id: &str) -> Result<EntityId, InvalidText> {
        let split = id.strip_prefix('@').and_then(|rest| rest.split_once('@'));
        let (name, key) = split.ok_or(InvalidText::Form { field: "entity id", form: "@name@key" })?;
        EntityId::of_any_key(name, key)
    }

    /// The entity of a recorded instance id; `None`: it is that of an orchestration.
    #[must_use]
    pub fn of_instance(id: &InstanceId) -> Option<EntityId> {
        id.as_str().strip_prefix('@').is_some_and(|rest| rest.contains('@')).then(|| EntityId(id.clone()))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.split().0
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        let rest = self.0.as_str().strip_prefix('@').and_then(|rest| rest.split_once('@'));
        rest.unwrap_or_default()
    }

    /// As an instance id.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        &self.0
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_id_splits_at_the_second_at_sign() {
        let id = EntityId::parse("@cart@user@example.org").unwrap();
        assert_eq!((id.name(), id.key()), ("cart", "user@example.org"));
        assert_eq!(EntityId::new("cart", "user@example.org").unwrap(), id);
        assert_eq!(EntityId::parse("@cart@").unwrap().key(), "");
    }

    #[test]
    fn bad_entity_ids_say_what_is_wrong() {
        let message = |id: &str| EntityId::parse(id).unwrap_err().to_string();
        assert_eq!(message("cart"), "entity id must have the form @name@key");
        assert_eq!(message("@cart"), "entity id must have the form @name@key");
        assert_eq!(message("@@1"), "entity name must not be empty");
        assert_eq!(message("@c@a\0"), "entity key: control character at byte 1");
        assert_eq!(message(&format!("@c@{}", "k".repeat(600))), "entity key: 600 bytes, limit 509");
    }
}
