-- Adds nothing when there is no such receiver.
INSERT OR FAIL INTO message (receiver, sender, number, body) SELECT id, ?2, ?3, ?4 FROM partition WHERE id = ?1
