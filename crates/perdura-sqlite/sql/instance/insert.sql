INSERT OR FAIL INTO instance (key, id, name, status, created_at, updated_at, completed_at, generation, branch, tail, record)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
