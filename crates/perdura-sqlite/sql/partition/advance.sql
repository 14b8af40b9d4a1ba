-- The guard of every commit: no row changes unless the grant is the latest one.
UPDATE partition
SET clock = max(clock, ?4), next_key = max(next_key, ?5), next_envelope = max(next_envelope, ?6)
WHERE id = ?1 AND epoch = ?2 AND nonce = ?3
