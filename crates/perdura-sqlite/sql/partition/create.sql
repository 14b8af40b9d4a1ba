INSERT INTO partition (id, epoch, nonce, next_key, next_envelope, clock) VALUES (?1, 0, zeroblob(16), 1, 1, 0)
