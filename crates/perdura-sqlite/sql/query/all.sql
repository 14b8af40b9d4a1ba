-- Everything from a key on.
SELECT key, id, name, status, created_at, updated_at, completed_at, generation, branch, tail, record
FROM instance NOT INDEXED
WHERE key > ?1 AND created_at BETWEEN ?3 AND ?4 AND coalesce((?5 >> status) & 1, 1)
  AND (?6 IS NULL OR name = ?6)
  AND (id >= '@' AND id < 'A') = ?9
ORDER BY key LIMIT ?2
