-- entergroup: a job that is about to be claimed takes a place in its group, or waits for
-- one behind those that were submitted before it.
-- KEYS members waiting called   ARGV id created limit hold_us
-- Returns until when the claim has to be written, 0 when there is no place.
local until_ = int(now() + tonumber(ARGV[4]))
local function enter()
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('SREM', KEYS[3], ARGV[1])
  redis.call('ZADD', KEYS[1], until_, ARGV[1])
  return until_
end
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return enter() end
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local created = tonumber(ARGV[2])
local mine = #first == 0 or created < tonumber(first[2]) or created == tonumber(first[2]) and ARGV[1] <= first[1]
if mine and redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[3]) then return enter() end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('SREM', KEYS[3], ARGV[1])
return 0
