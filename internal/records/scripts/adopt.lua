-- adopt: a new incarnation of the same host takes its running job over.
-- The nonce of the one before is not asked for: it died with its process. From here on
-- a report under that nonce is stale, should the process live after all.
-- KEYS job news   ARGV nonce worker host lease_us
local r = redis.call('HMGET', KEYS[1], 'state', 'host')
if not r[1] then return 'missing' end
if r[1] ~= 'running' or r[2] ~= ARGV[3] then return 'stale' end
redis.call('HSET', KEYS[1], 'nonce', ARGV[1], 'worker', ARGV[2],
  'lease', int(now() + tonumber(ARGV[4])))
event(KEYS[1], KEYS[2], 'adopted', ARGV[2])
return 'ok'
