-- beginbuild: give the key of a build to an attempt, and say whose it is.
-- KEYS build   ARGV job attempt doc hold_ms
-- The reply is the document of the one that has it and, for the caller, how the build failed
-- before.
local has = redis.call('HMGET', KEYS[1], 'job', 'attempt', 'doc', 'done', 'failed')
if has[3] and (has[4] or has[1] ~= ARGV[1] or tonumber(has[2]) > tonumber(ARGV[2])) then return { has[3], '' } end
redis.call('HSET', KEYS[1], 'job', ARGV[1], 'attempt', ARGV[2], 'doc', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return { ARGV[3], has[5] or '' }
