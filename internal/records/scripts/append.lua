-- append: add frames to the live log tail and keep it within its bytes.
-- KEYS job log   ARGV nonce attempt offset data max_bytes
if not owned(KEYS[1], ARGV[1]) and not keeps(KEYS[1], ARGV[1]) then return 0 end
redis.call('XADD', KEYS[2], '*', 'a', ARGV[2], 'o', ARGV[3], 'd', ARGV[4])
local size = redis.call('HINCRBY', KEYS[1], 'lb', #ARGV[4])
local over = size - tonumber(ARGV[5])
while over > 0 do
  local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  if not first then break end
  redis.call('XDEL', KEYS[2], first[1])
  over = over - #first[2][6]
  redis.call('HINCRBY', KEYS[1], 'lb', -#first[2][6])
end
return 1
