-- renew: prolong the lease; tells the time and who wants the job ended.
-- KEYS job   ARGV nonce lease_us
if not owned(KEYS[1], ARGV[1]) then return false end
local t = now()
redis.call('HSET', KEYS[1], 'lease', int(t + tonumber(ARGV[2])))
return {int(t), redis.call('HGET', KEYS[1], 'cancel') or ''}
