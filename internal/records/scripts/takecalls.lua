-- takecalls: take calls of an endpoint that are due, for a while.
-- ARGV endpoint count lease_us
-- It returns the time, and of each call its ID and itself. When it is due again is what
-- proves who took it.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local taken = {string.format('%.0f', now)}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[7], '-inf', taken[1], 'LIMIT', 0, ARGV[2])) do
  redis.call('ZADD', KEYS[7], string.format('%.0f', now + tonumber(ARGV[3])), id)
  taken[#taken + 1] = id
  taken[#taken + 1] = string.sub(redis.call('HGET', KEYS[1], id) or '', 3)
end
index(KEYS[7], ARGV[1])
return taken
