-- Renews the TTL of a session that is still the active one.
-- KEYS[1] the user's key; ARGV 1 the session as JSON, 2 the TTL in seconds.
-- A key of another type is not the active session.
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
  return redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return 0
