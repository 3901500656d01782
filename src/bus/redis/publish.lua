-- Publishes a message, unless the server is a replica, which accepts PUBLISH but refuses writes.
-- KEYS[1] a key that never exists; ARGV 1 the channel, 2 the message; without them nothing is published.
-- Returns how many subscribers received it.
--
-- On a missing key EXPIRE changes nothing. If Redis refuses it for another reason (too few replicas, a failed
-- save, an ACL), it still passes on messages.
local refused = redis.pcall('EXPIRE', KEYS[1], '0')
if type(refused) == 'table' and string.find(refused.err, 'READONLY', 1, true) then
  return {err = 'READONLY Redis is a replica'}
end
if not ARGV[1] then
  return 0
end
return redis.call('PUBLISH', ARGV[1], ARGV[2])
