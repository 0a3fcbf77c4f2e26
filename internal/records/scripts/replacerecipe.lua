-- replacerecipe: put another recipe in the place of a job's, if it is that job's still.
-- KEYS recipes   ARGV name of recipe made_us job
local have = redis.call('HGET', KEYS[1], ARGV[1])
if have and string.match(have, '^%d+:(%S+) ') == ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[4] .. ':' .. ARGV[5] .. ' ' .. ARGV[3])
end
return redis.status_reply('ok')
