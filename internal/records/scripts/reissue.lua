-- reissue: count a new ticket for a job that waits for a worker.
-- A ticket's ID has the number, so that the queue does not take the new one for the old,
-- which it may still remember.
-- KEYS job   Returns {attempt, seq}, or nothing when no ticket is due.
local s = redis.call('HGET', KEYS[1], 'state')
if s ~= 'queued' and s ~= 'waiting' then return false end
local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
return {num(KEYS[1], 'attempt'), seq}
