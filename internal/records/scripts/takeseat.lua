-- takeseat: a process takes the seat of a host, if it is as the process saw it.
-- KEYS seat   ARGV from nonce turn worker daemon lease_us keep_ms
-- Returns the seat as it is then.
local held = redis.call('HGET', KEYS[1], 'nonce') or ''
if held ~= ARGV[2] and held == ARGV[1] then
  local t = int(now())
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'nonce', ARGV[2], 'turn', ARGV[3], 'worker', ARGV[4],
    'daemon', ARGV[5], 'lease', ARGV[6], 'taken', t, 'seen', t)
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
end
return redis.call('HGETALL', KEYS[1])
