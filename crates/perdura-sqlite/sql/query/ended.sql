-- What has ended, in the order of its end. No index serves it: an index would cost every instance that ends, for a list
-- that only exports read. So each page reads the head of every row.
SELECT completed_at, id FROM instance NOT INDEXED
WHERE completed_at BETWEEN ?1 AND ?2 AND (completed_at > ?3 OR id > ?4)
  AND coalesce((?5 >> status) & 1, 1)
ORDER BY completed_at, id LIMIT ?6
