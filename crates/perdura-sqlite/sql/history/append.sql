-- Adds nothing when the row does not begin where the branch ends. A branch without rows begins at 0, or at its cut if it
-- is the branch of a rewind.
INSERT OR FAIL INTO history (instance_key, generation, branch, first_event, event_count, events)
SELECT ?1, ?2, ?3, ?4, ?5, ?6
WHERE ?4 = coalesce(
    (SELECT first_event + event_count FROM history
     WHERE instance_key = ?1 AND generation = ?2 AND branch = ?3
     ORDER BY first_event DESC LIMIT 1),
    iif(?3 = 0, 0, ?4))
