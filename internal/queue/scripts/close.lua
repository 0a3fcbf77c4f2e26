-- close: a lane was found empty that should have had more tickets.
-- KEYS open lines ages waiting   ARGV turn recipe left place
-- When nothing was pushed or taken since, there are none; else another worker sees.
if redis.call('LLEN', KEYS[3]) ~= tonumber(ARGV[3]) then return 0 end
local function entry()
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  return first[1] and string.format('%.0f', tonumber(first[2])) .. ' ' .. ARGV[1]
end
local was = entry()
local pass = was and redis.call('ZSCORE', KEYS[1], was)
redis.call('ZREM', KEYS[2], ARGV[2])
local is = entry()
if was and was ~= is then
  redis.call('ZREM', KEYS[1], was)
  if is and pass then redis.call('ZADD', KEYS[1], pass, is) end
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HINCRBY', KEYS[4], ARGV[4], -tonumber(ARGV[3]))
else
  redis.call('HDEL', KEYS[4], ARGV[4])
end
return redis.call('DEL', KEYS[3])
