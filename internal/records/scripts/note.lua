-- note: record progress of the attempt; empty arguments change nothing.
-- KEYS job news partial   ARGV nonce stage name cid run_timeout_us partial
if not owned(KEYS[1], ARGV[1]) then return 0 end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'stage', ARGV[2])
  event(KEYS[1], KEYS[2], 'stage', ARGV[2])
end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'name', ARGV[3]) end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'cid', ARGV[4])
  event(KEYS[1], KEYS[2], 'container', string.sub(ARGV[4], 1, 12))
end
if ARGV[5] ~= '0' then
  redis.call('HSET', KEYS[1], 'deadline', int(now() + tonumber(ARGV[5])))
end
if ARGV[6] ~= '' then redis.call('SET', KEYS[3], ARGV[6]) end
return 1
