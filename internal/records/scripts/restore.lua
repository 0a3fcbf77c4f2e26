-- restore: make a record again whose hash is gone while its document is not.
-- KEYS job   ARGV created state version wait_us kept(0/1)
-- A job that had not ended waits a little, so that whoever worked on it finds
-- out that it is not his any more.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local t = now()
redis.call('HSET', KEYS[1], 'v', ARGV[3], 'state', ARGV[2], 'attempt', 1, 'seq', 1,
  'created', ARGV[1], 'queued', int(t), 'losses', 1)
if ARGV[2] == 'waiting' then
  redis.call('HSET', KEYS[1], 'not_before', int(t + tonumber(ARGV[4])))
else
  redis.call('HSET', KEYS[1], 'finished', int(t))
end
if ARGV[5] == '1' then redis.call('HSET', KEYS[1], 'kept', 1) end
event(KEYS[1], nil, 'lost', 'the record was gone')
return 1
