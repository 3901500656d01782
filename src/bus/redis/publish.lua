-- Publishes a message, unless the server is a replica: that accepts PUBLISH, but refuses writes.
-- KEYS[1] a key that is never there; ARGV 1 the channel, 2 the message; without them nothing is published.
-- Returns how many subscribers received it.
--
-- Without a key EXPIRE changes nothing. Whatever else makes Redis refuse it (too few replicas, a failed save,
-- an ACL) does not keep it from passing on messages.
local refused = redis.pcall('EXPIRE', KEYS[1], '0')
if type(refused) == 'table' and string.find(refused.err, 'READONLY', 1, true) then
  return {err = 'READONLY Redis is a replica'}
end
if not ARGV[1] then
  return 0
end
return redis.call('PUBLISH', ARGV[1], ARGV[2])
