-- One status: a range of its index, in the order of keys.
SELECT key, id, name, status, created_at, updated_at, completed_at, generation, branch, tail, record
FROM instance INDEXED BY instance_status
WHERE status = ?7 AND key > ?1 AND +created_at BETWEEN ?3 AND ?4
  AND (?6 IS NULL OR name = ?6)
  AND (id >= '@' AND id < 'A') = ?9
ORDER BY key LIMIT ?2
