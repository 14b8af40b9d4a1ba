INSERT INTO perdura_fence (step, token) VALUES ($1, $2)
ON CONFLICT (step) DO UPDATE SET token = excluded.token WHERE perdura_fence.token <= excluded.token
