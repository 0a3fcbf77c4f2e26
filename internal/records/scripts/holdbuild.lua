-- holdbuild: keep the key of a build for the attempt that has it.
-- KEYS build   ARGV job attempt hold_ms
local has = redis.call('HMGET', KEYS[1], 'job', 'attempt', 'done')
if has[3] or has[1] ~= ARGV[1] or has[2] ~= ARGV[2] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
