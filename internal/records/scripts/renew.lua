-- renew: prolong the lease; tells the time and who wants the job ended.
-- KEYS job   ARGV nonce lease_us
-- A lease that has passed is prolonged, too: as long as the nonce is the owner's, the
-- reconciler has not given the job to another worker, and the work is not lost.
if not owned(KEYS[1], ARGV[1]) then return false end
local t = now()
redis.call('HSET', KEYS[1], 'lease', int(t + tonumber(ARGV[2])))
return {int(t), redis.call('HGET', KEYS[1], 'cancel') or ''}
