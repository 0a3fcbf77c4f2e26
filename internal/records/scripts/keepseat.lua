-- keepseat: the holder of a host's seat is alive or, with leave set, ends in order.
-- KEYS seat   ARGV nonce leave(0/1) keep_ms
-- Returns the seat of another holder; to its own holder only what says so, because
-- every worker of the farm does this all the time.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then return redis.call('HGETALL', KEYS[1]) end
local t = int(now())
redis.call('HSET', KEYS[1], 'seen', t)
if ARGV[2] == '1' then redis.call('HSET', KEYS[1], 'left', t) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'nonce', ARGV[1], 'seen', t}
