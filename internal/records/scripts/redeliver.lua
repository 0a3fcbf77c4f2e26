-- redeliver: make a call that has ended due again, if it is as the caller saw it.
-- ARGV endpoint id line seen call now_us kept oldest_us
local have = redis.call('HGET', KEYS[1], ARGV[2])
if not have or have ~= ARGV[4] then return 'stale' end
if string.sub(have, 1, 1) == '1' then return 'again' end
redis.call('HSET', KEYS[1], ARGV[2], '1 ' .. ARGV[5])
enter(KEYS[7], ARGV[1] .. ' ' .. ARGV[3], ARGV[2], ARGV[6])
log(ARGV[2], ARGV[6], ARGV[7], ARGV[8])
index(KEYS[7], ARGV[1])
return 'ok'
