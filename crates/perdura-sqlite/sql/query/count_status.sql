-- How many have a status, counted no further than ?2.
SELECT count(*) FROM (SELECT 1 FROM instance INDEXED BY instance_status WHERE status = ?1 LIMIT ?2)
