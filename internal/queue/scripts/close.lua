-- close: a lane was found empty that should have had more tickets.
-- KEYS open ages   ARGV turn left
-- When nothing was pushed or taken since, there are none; else another worker sees.
if redis.call('LLEN', KEYS[2]) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[1], redis.call('LINDEX', KEYS[2], 0) .. ' ' .. ARGV[1])
return redis.call('DEL', KEYS[2])
