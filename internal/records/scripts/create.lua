-- create: make a record unless there is one. A result makes one that has ended.
-- KEYS job spec result   ARGV spec created expires(0: never) version start_by(0: none) result_state result from submitter traceparent
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], 'v', ARGV[4], 'state', 'queued', 'attempt', 1, 'seq', 1,
  'created', ARGV[2], 'queued', ARGV[2])
event(KEYS[1], nil, 'submitted', '')
if ARGV[7] ~= '' then
  close{job = KEYS[1], result = KEYS[3], doc = ARGV[7], state = ARGV[6], from = ARGV[8]}
end
if ARGV[3] ~= '0' then redis.call('HSET', KEYS[1], 'expires', ARGV[3]) end
if ARGV[5] ~= '0' then redis.call('HSET', KEYS[1], 'start_by', ARGV[5]) end
if ARGV[9] ~= '' then redis.call('HSET', KEYS[1], 'submitter', ARGV[9]) end
if ARGV[10] ~= '' then redis.call('HSET', KEYS[1], 'traceparent', ARGV[10]) end
return 1
