-- addcalls: make calls due, but for those that are kept already, and move the reader of the
-- ended jobs that they were made of past them. It is one step: a Redis that loses its last
-- second must not lose calls and keep the cursor.
-- KEYS ... due...; the last two are moved ended
-- ARGV reader from to mark now_us waiting kept oldest_us (due endpoint id line call)...
-- with "" for no reader, and which key due is. It returns how many calls are too many, -1 when
-- the reader is not where the caller saw it.
if ARGV[1] ~= '' then
  local done = passed(KEYS[6], KEYS[#KEYS - 1], KEYS[#KEYS], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
  if not done then return -1 end
  if done == 'again' then return 0 end
end
local refused = 0
for i = 9, #ARGV, 5 do
  local due, id = KEYS[tonumber(ARGV[i])], ARGV[i + 2]
  if redis.call('HEXISTS', KEYS[1], id) == 0 then
    if redis.call('ZCARD', due) >= tonumber(ARGV[6]) then
      refused = refused + 1
    else
      redis.call('HSET', KEYS[1], id, '1 ' .. ARGV[i + 4])
      enter(due, ARGV[i + 1] .. ' ' .. ARGV[i + 3], id, ARGV[5])
      log(id, ARGV[5], ARGV[7], ARGV[8])
      index(due, ARGV[i + 1])
    end
  end
end
return refused
