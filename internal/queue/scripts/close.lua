-- close: a lane was found empty that should have had more tickets.
-- KEYS open ages waiting   ARGV line left place
-- When nothing was pushed or taken since, there are none; else another worker sees.
if redis.call('LLEN', KEYS[2]) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[1], redis.call('LINDEX', KEYS[2], 0) .. ' ' .. ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HINCRBY', KEYS[3], ARGV[3], -tonumber(ARGV[2]))
else
  redis.call('HDEL', KEYS[3], ARGV[3])
end
return redis.call('DEL', KEYS[2])
