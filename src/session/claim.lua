-- Lets a session in if it is the active one or there is none, in one step.
-- KEYS[1] the user's key, 2 the key that is there while a change of session is news
-- ARGV    1 the session as JSON, 2 the TTL in seconds, 3 the channel and 4 the message of an adoption,
--         5 and 6 a stored text that the caller has read, and what it means: 'same' or 'none',
--         7 PUBLISH or SPUBLISH, 8 for how many seconds a change is news
-- Returns {'adopted', nodes told}, {'news', nodes told}, {'active'}, or {'other', the stored text}.
local stored = redis.call('GET', KEYS[1])
local meaning
if not stored then
  meaning = 'none'
elseif stored == ARGV[1] then
  meaning = 'same'
elseif stored == ARGV[5] then
  meaning = ARGV[6]
end
if meaning == 'same' then
  -- A Redis that is full or read-only cannot renew; the session is the active one all the same.
  redis.pcall('EXPIRE', KEYS[1], ARGV[2])
  if redis.pcall('GET', KEYS[2]) == '1' then
    -- Sockets of the session before it may still be live, so the nodes are told again and have to answer.
    return {'news', redis.call(ARGV[7], ARGV[3], ARGV[4])}
  end
  return {'active'}
elseif meaning == 'none' then
  -- What can be refused comes first and changes nothing; see replace.lua.
  redis.call('SET', KEYS[1], ARGV[1], stored and 'NX' or 'XX')
  local told = redis.call(ARGV[7], ARGV[3], ARGV[4])
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
  redis.pcall('SET', KEYS[2], '1', 'EX', ARGV[8])
  return {'adopted', told}
end
return {'other', stored}
