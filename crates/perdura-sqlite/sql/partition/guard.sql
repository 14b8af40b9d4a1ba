-- The guard of every commit: no row unless the grant is the latest one. The transaction already has the one write lock
-- of the file (BEGIN IMMEDIATE), so nobody takes the partition over before it ends.
SELECT clock, next_key, next_envelope FROM partition WHERE id = ?1 AND epoch = ?2 AND nonce = ?3
