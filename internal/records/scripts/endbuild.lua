-- endbuild: keep what came of a build, "" for nothing, unless another attempt builds it.
-- KEYS build   ARGV job attempt doc kept_ms
local has = redis.call('HMGET', KEYS[1], 'job', 'attempt', 'done')
local mine = has[1] == ARGV[1] and has[2] == ARGV[2]
if has[1] and not has[3] and not mine then return 0 end
if ARGV[3] == '' then
  if mine and not has[3] then redis.call('DEL', KEYS[1]) end
  return 0
end
redis.call('HSET', KEYS[1], 'job', ARGV[1], 'attempt', ARGV[2], 'doc', ARGV[3], 'done', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
