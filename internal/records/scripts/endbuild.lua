-- endbuild: keep what came of a build, unless another attempt builds it.
-- KEYS build   ARGV job attempt doc failed kept_ms
-- doc is "" when there is no image, failed when it did not fail by what goes into it.
local has = redis.call('HMGET', KEYS[1], 'job', 'attempt', 'done')
local mine = has[1] == ARGV[1] and has[2] == ARGV[2]
if has[1] and not has[3] and not mine or has[3] and ARGV[3] == '' then return 0 end
redis.call('HDEL', KEYS[1], 'job', 'attempt', 'doc')
if ARGV[3] ~= '' then
  redis.call('HDEL', KEYS[1], 'failed')
  redis.call('HSET', KEYS[1], 'job', ARGV[1], 'attempt', ARGV[2], 'doc', ARGV[3], 'done', 1)
elseif ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'failed', ARGV[4])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
