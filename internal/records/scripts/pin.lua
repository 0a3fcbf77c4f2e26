-- pin: keep artifacts from being deleted. Returns now and those that are being
-- deleted already.
-- KEYS pins condemned   ARGV keep_us condemned_us digest...
local t = now()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(t))
local late = {int(t)}
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[1], int(t + tonumber(ARGV[1])), ARGV[i])
  local since = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if since and t - tonumber(since) < tonumber(ARGV[2]) then late[#late + 1] = ARGV[i] end
end
return late
