-- restore: make a record again whose hash is gone while its document is not.
-- KEYS job   ARGV created state version wait_us kept(0/1) before from
-- A job that had not ended waits a little, so that its owner finds out that it is
-- not the owner any more. One that had ended, of which the result is there, ends once
-- more from before, a state that may become its own.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local t = now()
redis.call('HSET', KEYS[1], 'v', ARGV[3], 'state', ARGV[6], 'attempt', 1, 'seq', 1,
  'created', ARGV[1], 'queued', int(t), 'losses', 1)
event(KEYS[1], nil, 'lost', 'the record was gone')
if ARGV[2] == 'waiting' then
  redis.call('HSET', KEYS[1], 'not_before', int(t + tonumber(ARGV[4])))
else
  close{job = KEYS[1], state = ARGV[2], from = ARGV[7], kept = ARGV[5] == '1'}
end
return 1
