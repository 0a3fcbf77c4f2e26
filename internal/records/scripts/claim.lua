-- claim: a worker becomes the owner of a queued or waiting job.
-- KEYS job news   ARGV attempt nonce worker host lease_us version group_until(0: no group)
-- Returns the previous state, an empty string when it is not claimable, or why not.
local r = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'not_before', 'expires', 'v', 'started')
if not r[1] then return 'missing' end
if tonumber(r[5]) > tonumber(ARGV[6]) then return 'newer' end
-- The owner asks again, because the answer got lost.
if r[1] == 'running' and redis.call('HGET', KEYS[1], 'nonce') == ARGV[2] then return 'running' end
if r[1] ~= 'queued' and r[1] ~= 'waiting' then return '' end
-- A ticket that was delivered twice or late must not start a later attempt.
if ARGV[1] ~= '0' and ARGV[1] ~= r[2] then return '' end
local t = now()
if r[3] and tonumber(r[3]) > t then return 'early' end
if r[4] and tonumber(r[4]) < t then return 'expired' end
if ARGV[7] ~= '0' and tonumber(ARGV[7]) < t then return 'late' end
redis.call('HSET', KEYS[1], 'state', 'running', 'nonce', ARGV[2], 'worker', ARGV[3],
  'host', ARGV[4], 'lease', int(t + tonumber(ARGV[5])), 'claimed', int(t))
if not r[6] then redis.call('HSET', KEYS[1], 'started', int(t)) end
redis.call('HDEL', KEYS[1], 'not_before', 'stage', 'name', 'cid', 'deadline')
event(KEYS[1], KEYS[2], 'claimed', ARGV[3])
return r[1]
