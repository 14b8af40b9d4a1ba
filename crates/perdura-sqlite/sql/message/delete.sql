DELETE FROM message WHERE receiver = ?1 AND sender = ?2 AND number = ?3
