-- leavegroup: a job that is not claimed gives up its place, unless it has entered again.
-- KEYS members   ARGV id until
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('ZREM', KEYS[1], ARGV[1])
