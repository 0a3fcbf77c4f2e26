-- beginbuild: give the key of a build to an attempt, and say whose it is.
-- KEYS build   ARGV job attempt doc hold_ms
local has = redis.call('HMGET', KEYS[1], 'job', 'attempt', 'doc', 'done')
if has[3] and (has[4] or has[1] ~= ARGV[1] or tonumber(has[2]) > tonumber(ARGV[2])) then return has[3] end
redis.call('HSET', KEYS[1], 'job', ARGV[1], 'attempt', ARGV[2], 'doc', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return ARGV[3]
