-- endservice: record what became of a kept service, in a result with its whole log.
-- KEYS job news result log   ARGV nonce result text ago_us log_ttl_s
local r = redis.call('HMGET', KEYS[1], 'nonce', 'finished', 'ended')
if not keeps(KEYS[1], ARGV[1]) then
  -- The worker repeats a report whose answer it did not get.
  if r[3] and (r[1] or '') == ARGV[1] then return 'again' end
  return 'stale'
end
redis.call('SET', KEYS[3], ARGV[2])
redis.call('HSET', KEYS[1], 'ended', int(math.max(now() - tonumber(ARGV[4]), tonumber(r[2] or '0'))))
redis.call('HDEL', KEYS[1], 'kept', 'lb')
redis.call('EXPIRE', KEYS[4], ARGV[5])
event(KEYS[1], KEYS[2], 'service_ended', ARGV[3])
return 'ok'
