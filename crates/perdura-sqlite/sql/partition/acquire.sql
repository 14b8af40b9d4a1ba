UPDATE partition SET epoch = epoch + 1, nonce = ?2 WHERE id = ?1 RETURNING epoch, next_key, next_envelope
