SELECT first_event, event_count, events FROM history
WHERE instance_key = ?1 AND generation = ?2 AND branch = ?3
  AND first_event >= coalesce(
    (SELECT first_event FROM history
     WHERE instance_key = ?1 AND generation = ?2 AND branch = ?3 AND first_event <= ?4
     ORDER BY first_event DESC LIMIT 1), 0)
ORDER BY first_event
