-- Each status is a range of its index in the order of keys; the compound merges them without sorting. A status that does
-- not exist is damage, which is to be found: there is next to nothing to sort.
SELECT instance.key, instance.id, instance.name, instance.status, instance.created_at, instance.updated_at, instance.completed_at, instance.generation, instance.branch, instance.tail, instance.record
FROM (
    SELECT key FROM instance WHERE status = 0 AND key > ?1 AND key <= ?2
    UNION ALL
    SELECT key FROM instance WHERE status = 6 AND key > ?1 AND key <= ?2
    UNION ALL
    SELECT key FROM instance WHERE status = 7 AND key > ?1 AND key <= ?2
    UNION ALL
    SELECT key FROM instance WHERE status = 2 AND key > ?1 AND key <= ?2
    UNION ALL
    SELECT key FROM instance WHERE status < 0 AND key > ?1 AND key <= ?2
    UNION ALL
    SELECT key FROM instance WHERE status > 7 AND key > ?1 AND key <= ?2
    ORDER BY key LIMIT ?3
) AS open CROSS JOIN instance ON instance.key = open.key
ORDER BY open.key
