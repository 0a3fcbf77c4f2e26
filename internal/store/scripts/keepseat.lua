-- keepseat: the holder of a host's seat is alive or, with leave set, ends in order.
-- KEYS seat   ARGV nonce leave(0/1) keep_ms
-- Returns the seat as it is then.
if redis.call('HGET', KEYS[1], 'nonce') == ARGV[1] then
  local t = int(now())
  redis.call('HSET', KEYS[1], 'seen', t)
  if ARGV[2] == '1' then redis.call('HSET', KEYS[1], 'left', t) end
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return redis.call('HGETALL', KEYS[1])
