-- Makes a session the active one, whatever was there, and tells the nodes, in one step.
-- KEYS[1] the user's key
-- ARGV    1 the session as JSON, 2 the TTL in seconds, 3 the channel and 4 the message for the nodes,
--         5 PUBLISH or SPUBLISH
-- Answers how many nodes were told.
-- The message goes first: where that is refused nothing has changed, and where the session cannot be
-- stored the nodes look once more at what they know. They read it only after this script.
local told = redis.call(ARGV[5], ARGV[3], ARGV[4])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return told
