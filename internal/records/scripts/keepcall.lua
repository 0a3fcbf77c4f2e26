-- keepcall: record what a try has led to, unless another process has taken the call since.
-- ARGV endpoint id line until_us call state next_us last_us hook kept oldest_us
-- It returns how many calls of the hook were given up in a row, -1 for one that is another's.
local id = ARGV[2]
if tonumber(redis.call('ZSCORE', KEYS[7], id) or '-1') ~= tonumber(ARGV[4]) then return -1 end
local given = 0
if ARGV[6] == 'due' then
  redis.call('HSET', KEYS[1], id, '1 ' .. ARGV[5])
  redis.call('ZADD', KEYS[7], ARGV[7], id)
else
  redis.call('HSET', KEYS[1], id, '0 ' .. ARGV[5])
  leave(KEYS[7], ARGV[1] .. ' ' .. ARGV[3], id, ARGV[8])
  if ARGV[9] ~= '' and ARGV[6] == 'delivered' then redis.call('HDEL', KEYS[5], ARGV[9]) end
  if ARGV[9] ~= '' and ARGV[6] == 'given_up' then given = redis.call('HINCRBY', KEYS[5], ARGV[9], 1) end
end
log(id, ARGV[8], ARGV[10], ARGV[11])
index(KEYS[7], ARGV[1])
return given
