UPDATE OR FAIL partition
SET clock = max(clock, ?2), next_key = max(next_key, ?3), next_envelope = max(next_envelope, ?4)
WHERE id = ?1
