SELECT count(*), coalesce(max(id), -1), coalesce(max(clock), 0) FROM partition
