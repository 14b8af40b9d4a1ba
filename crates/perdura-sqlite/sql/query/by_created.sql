-- In the order of creation: the index by time ends with the key, so a page begins where the one before ended.
-- A time that cannot be read comes last, and is known as the highest number.
SELECT key, id, name, status, created_at, updated_at, completed_at, generation, branch, tail, record
FROM instance INDEXED BY instance_created
WHERE created_at BETWEEN ?3 AND ?4 AND (created_at > ?7 AND ?7 < 9223372036854775807 OR key > ?1)
  AND coalesce((?5 >> status) & 1, 1)
  AND (?6 IS NULL OR name = ?6)
  AND (id >= '@' AND id < 'A') = ?8
ORDER BY created_at, key LIMIT ?2
