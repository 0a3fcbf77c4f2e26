-- learn: keep the recipe of a name, unless that of a newer job is there.
-- KEYS recipes   ARGV name recipe made_us job
-- Ended jobs come at least once, and in any order where two processes read them.
local have = redis.call('HGET', KEYS[1], ARGV[1])
if have then
  local made, job = string.match(have, '^(%d+):(%S+) ')
  if made and (tonumber(made) > tonumber(ARGV[3]) or made == ARGV[3] and job >= ARGV[4]) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3] .. ':' .. ARGV[4] .. ' ' .. ARGV[2])
return 1
