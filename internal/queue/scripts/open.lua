-- open: note that a lane has tickets, and wake workers.
-- KEYS routes turns open lines ages bell waiting warm
-- ARGV turn recipe route_id route n in_all(0/1) max_bells channel message place
--      own_bells max_warm_bells own_bell_ms
-- There are n more tickets, or with in_all, n at least.
if ARGV[3] ~= '' and redis.call('HSETNX', KEYS[1], ARGV[3], ARGV[4]) == 1 then
  redis.call('PUBLISH', ARGV[8], ARGV[9]) -- workers may not know this route yet
end
local turn, recipe = ARGV[1], ARGV[2]
local n = tonumber(ARGV[5])
if ARGV[6] == '1' then n = n - redis.call('LLEN', KEYS[5]) end
if n > 0 then
  local t = redis.call('TIME')
  local at = tonumber(t[1]) * 1000000 + tonumber(t[2])
  for i = 0, n - 1 do redis.call('RPUSH', KEYS[5], string.format('%.0f', at + i)) end
  redis.call('HINCRBY', KEYS[7], ARGV[10], n)
end
local oldest = redis.call('LINDEX', KEYS[5], 0)
if oldest and not redis.call('ZSCORE', KEYS[4], recipe) then
  redis.call('ZADD', KEYS[4], oldest, recipe)
  if redis.call('ZCARD', KEYS[4]) == 1 then
    -- Who comes anew has no turns left from times when it had nothing to do.
    local clock = tonumber(redis.call('HGET', KEYS[2], '*') or '0')
    local pass = tonumber(redis.call('HGET', KEYS[2], turn) or '0')
    if pass < clock then
      pass = clock
      redis.call('HSET', KEYS[2], turn, string.format('%.0f', pass))
    end
    redis.call('ZADD', KEYS[3], string.format('%.0f', pass), oldest .. ' ' .. turn)
  end
end
if n <= 0 and oldest then -- workers look only where something is counted
  redis.call('HSETNX', KEYS[7], ARGV[10], redis.call('LLEN', KEYS[5]))
end
if n > 0 and recipe ~= '' then
  -- Hosts that are warm are asked by name: the bell wakes any. Those that have one are busy.
  local rung = 0
  for _, host in ipairs(redis.call('ZRANDMEMBER', KEYS[8], 4 * ARGV[12])) do
    local own = ARGV[11] .. host
    if rung < tonumber(ARGV[12]) and redis.call('EXISTS', own) == 0 then
      redis.call('LPUSH', own, 1)
      redis.call('PEXPIRE', own, ARGV[13])
      rung = rung + 1
    end
  end
end
for _ = 1, math.min(n, tonumber(ARGV[7])) do redis.call('LPUSH', KEYS[6], 1) end
redis.call('LTRIM', KEYS[6], 0, tonumber(ARGV[7]) - 1)
return n
