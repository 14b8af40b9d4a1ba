SELECT key, id, name, status, created_at, updated_at, completed_at, generation, branch, tail, record
FROM instance WHERE id = ?1
