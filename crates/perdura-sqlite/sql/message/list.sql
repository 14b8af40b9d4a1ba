SELECT sender, number, body FROM message
WHERE receiver = ?1 AND (sender, number) > (?2, ?3)
ORDER BY sender, number
