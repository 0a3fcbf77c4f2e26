-- warm: note of which recipes a host has images or caches.
-- KEYS has   ARGV prefix host seconds all(0/1) recipe...
-- The keys of recipes begin with the prefix; they share the hash tag of KEYS. has are the
-- recipes that were noted of the host; with all, it has no others any more.
local now = tonumber(redis.call('TIME')[1])
if ARGV[4] == '1' then
  local still = {}
  for i = 5, #ARGV do still[ARGV[i]] = true end
  for _, recipe in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    if not still[recipe] then redis.call('ZREM', ARGV[1] .. recipe, ARGV[2]) end
  end
  redis.call('DEL', KEYS[1])
end
for i = 5, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. now)
  redis.call('ZADD', key, now + ARGV[3], ARGV[2])
  redis.call('EXPIRE', key, ARGV[3])
  redis.call('SADD', KEYS[1], ARGV[i])
end
return redis.call('EXPIRE', KEYS[1], ARGV[3])
