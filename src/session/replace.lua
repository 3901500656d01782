-- Makes a session the active one, whatever was there, and tells the nodes: both, or neither.
-- KEYS[1] the user's key, 2 the key that is there while a change of session is news
-- ARGV    1 the session as JSON, 2 the TTL in seconds, 3 the channel and 4 the message for the nodes,
--         5 PUBLISH or SPUBLISH, 6 for how many seconds the change is news
-- Returns how many nodes were told.
--
-- A script that fails halfway is not rolled back, and a message cannot be recalled. So the first SET
-- never changes anything (NX where there is a key, XX where there is none), but fails wherever SET is
-- refused: full, read-only, not saving, too few replicas, ACL. After a script's first write command
-- Redis no longer refuses later ones for its own state, and the ACL has just let SET pass, so once
-- the message is out the last SET cannot fail. A script with a `#!lua` line would be judged as a
-- whole before it starts, and Redis 6.2 has none.
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'table' and not string.find(stored.err, 'WRONGTYPE', 1, true) then
  return stored
end
redis.call('SET', KEYS[1], ARGV[1], stored and 'NX' or 'XX')
local told = redis.call(ARGV[5], ARGV[3], ARGV[4])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.pcall('SET', KEYS[2], '1', 'EX', ARGV[6])
return told
