-- condemn: announce that artifacts are deleted. Returns those that may be: not
-- pinned, and not announced by another collector a moment ago.
-- Does not announce anything when pretend is 1.
-- KEYS pins condemned   ARGV condemned_us pretend digest...
local t = now()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(t))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', int(t - tonumber(ARGV[1])))
local free = {}
for i = 3, #ARGV do
  if not redis.call('ZSCORE', KEYS[1], ARGV[i]) and not redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    if ARGV[2] ~= '1' then redis.call('ZADD', KEYS[2], int(t), ARGV[i]) end
    free[#free + 1] = ARGV[i]
  end
end
return free
