-- The ids that begin with a text are a range, ?7 to ?8.
SELECT key, id, name, status, created_at, updated_at, completed_at, generation, branch, tail, record
FROM instance INDEXED BY instance_id
WHERE id >= ?7 AND id < ?8
  AND key > ?1 AND +created_at BETWEEN ?3 AND ?4 AND coalesce((?5 >> status) & 1, 1)
  AND (?6 IS NULL OR name = ?6)
  AND (id >= '@' AND id < 'A') = ?9
ORDER BY key LIMIT ?2
