-- open: note that a lane has tickets, and wake workers.
-- KEYS routes turns open ages bell waiting
-- ARGV turn route_id route n in_all(0/1) max_bells channel message place
-- There are n more tickets, or with in_all, n at least.
if ARGV[2] ~= '' and redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3]) == 1 then
  redis.call('PUBLISH', ARGV[7], ARGV[8]) -- workers may not know this route yet
end
local n = tonumber(ARGV[4])
if ARGV[5] == '1' then n = n - redis.call('LLEN', KEYS[4]) end
if n > 0 then
  -- Who comes anew has no turns left from times when it had nothing to do.
  local clock = tonumber(redis.call('HGET', KEYS[2], '*') or '0')
  local pass = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
  if pass < clock then
    pass = clock
    redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', pass))
  end
  local t = redis.call('TIME')
  local at = tonumber(t[1]) * 1000000 + tonumber(t[2])
  if redis.call('EXISTS', KEYS[4]) == 0 then
    redis.call('ZADD', KEYS[3], string.format('%.0f', pass), string.format('%.0f', at) .. ' ' .. ARGV[1])
  end
  for i = 0, n - 1 do redis.call('RPUSH', KEYS[4], string.format('%.0f', at + i)) end
  redis.call('HINCRBY', KEYS[6], ARGV[9], n)
elseif redis.call('EXISTS', KEYS[3]) == 1 then
  -- Workers look only where something is counted.
  redis.call('HSETNX', KEYS[6], ARGV[9], redis.call('LLEN', KEYS[4]))
end
for _ = 1, math.min(n, tonumber(ARGV[6])) do redis.call('LPUSH', KEYS[5], 1) end
redis.call('LTRIM', KEYS[5], 0, tonumber(ARGV[6]) - 1)
return n
