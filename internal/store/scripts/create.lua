-- create: make a record unless there is one.
-- KEYS job spec   ARGV spec created expires_in_us version
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], 'v', ARGV[4], 'state', 'queued', 'attempt', 1, 'seq', 1,
  'created', ARGV[2], 'queued', ARGV[2])
if ARGV[3] ~= '0' then
  redis.call('HSET', KEYS[1], 'expires', int(tonumber(ARGV[2]) + tonumber(ARGV[3])))
end
event(KEYS[1], nil, 'submitted', '')
return 1
