-- beat: note what a host says of itself, and when. Tells whether it is new.
-- KEYS hosts   ARGV name document forget_us
local t = now()
if redis.call('HSET', KEYS[1], ARGV[1], int(t) .. ' ' .. ARGV[2]) == 0 then return 0 end
-- Only a new host makes the registry grow, so this is when those that are gone for
-- good have to go; a beat of a known one looks at no other host.
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local seen = tonumber(string.match(all[i + 1], '^%d+') or '0')
  if t - seen > tonumber(ARGV[3]) then redis.call('HDEL', KEYS[1], all[i]) end
end
return 1
