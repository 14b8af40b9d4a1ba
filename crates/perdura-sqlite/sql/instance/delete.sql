DELETE FROM instance WHERE key = ?1
