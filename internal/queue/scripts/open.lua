-- open: note that a lane has tickets, and wake workers.
-- KEYS routes turns open ages bell waiting warm
-- ARGV line turn route_id route n in_all(0/1) max_bells channel message place
--      own_bells max_warm_bells own_bell_ms
-- There are n more tickets, or with in_all, n at least.
if ARGV[3] ~= '' and redis.call('HSETNX', KEYS[1], ARGV[3], ARGV[4]) == 1 then
  redis.call('PUBLISH', ARGV[8], ARGV[9]) -- workers may not know this route yet
end
local n = tonumber(ARGV[5])
if ARGV[6] == '1' then n = n - redis.call('LLEN', KEYS[4]) end
if n > 0 then
  -- Who comes anew has no turns left from times when it had nothing to do.
  local clock = tonumber(redis.call('HGET', KEYS[2], '*') or '0')
  local pass = tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or '0')
  if pass < clock then
    pass = clock
    redis.call('HSET', KEYS[2], ARGV[2], string.format('%.0f', pass))
  end
  local t = redis.call('TIME')
  local at = tonumber(t[1]) * 1000000 + tonumber(t[2])
  if redis.call('EXISTS', KEYS[4]) == 0 then
    redis.call('ZADD', KEYS[3], string.format('%.0f', pass), string.format('%.0f', at) .. ' ' .. ARGV[1])
  end
  for i = 0, n - 1 do redis.call('RPUSH', KEYS[4], string.format('%.0f', at + i)) end
  redis.call('HINCRBY', KEYS[6], ARGV[10], n)
  -- Hosts that are warm are asked by name: the bell wakes any.
  if ARGV[1] ~= ARGV[2] then
    for _, host in ipairs(redis.call('ZRANDMEMBER', KEYS[7], ARGV[12])) do
      local own = ARGV[11] .. host
      if redis.call('EXISTS', own) == 0 then
        redis.call('LPUSH', own, 1)
        redis.call('PEXPIRE', own, ARGV[13])
      end
    end
  end
elseif redis.call('EXISTS', KEYS[3]) == 1 then
  -- Workers look only where something is counted.
  redis.call('HSETNX', KEYS[6], ARGV[10], redis.call('LLEN', KEYS[4]))
end
for _ = 1, math.min(n, tonumber(ARGV[7])) do redis.call('LPUSH', KEYS[5], 1) end
redis.call('LTRIM', KEYS[5], 0, tonumber(ARGV[7]) - 1)
return n
