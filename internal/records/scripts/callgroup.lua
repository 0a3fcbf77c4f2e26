-- callgroup: the first jobs that wait for a place in a group, as many as there are free,
-- are called: they get tickets.
-- KEYS members waiting called   ARGV limit
local free = tonumber(ARGV[1]) - redis.call('ZCARD', KEYS[1])
local call = {}
if free <= 0 then return call end
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, free - 1)) do
  if redis.call('SADD', KEYS[3], id) == 1 then table.insert(call, id) end
end
return call
