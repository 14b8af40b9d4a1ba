-- The common update. SQLite rewrites an index entry whenever its column is assigned, so indexed columns are compared
-- here, not assigned.
UPDATE OR FAIL instance
SET name = ?3, updated_at = ?6, completed_at = ?7, generation = ?8, branch = ?9, tail = ?10, record = ?11
WHERE key = ?1 AND id = ?2 AND status = ?4 AND created_at = ?5
  AND generation = ?12 AND branch = ?13 AND tail = ?14
