-- Prepended to the scripts on calls of webhooks, whose first keys are
-- KEYS calls lines log endpoints fails cursors
-- and then due of one or more endpoints. A call is kept as "1 <json>" while it has not ended,
-- and as "0 <json>" then.

-- enter makes a call the last of its line. Only the first of a line is due.
local function enter(due, line, id, now)
  local ahead = redis.call('HGET', KEYS[2], line)
  if ahead then
    redis.call('HSET', KEYS[2], line, ahead .. ' ' .. id)
  else
    redis.call('HSET', KEYS[2], line, id)
    redis.call('ZADD', due, now, id)
  end
end
-- leave takes the first call out of its line, and makes the next one due.
local function leave(due, line, id, now)
  redis.call('ZREM', due, id)
  local behind = string.match(redis.call('HGET', KEYS[2], line) or '', '^%S+ (.+)$')
  if not behind then
    redis.call('HDEL', KEYS[2], line)
    return
  end
  redis.call('HSET', KEYS[2], line, behind)
  redis.call('ZADD', due, now, string.match(behind, '^%S+'))
end
-- index notes when the first call of an endpoint is due, and whether any has calls that have
-- not ended: it is beside the cursors, so that it costs no question of its own.
local function index(due, endpoint)
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('ZADD', KEYS[4], first[2], endpoint)
    redis.call('HSET', KEYS[6], '!', 1)
  else
    redis.call('ZREM', KEYS[4], endpoint)
    if redis.call('EXISTS', KEYS[4]) == 0 then redis.call('HDEL', KEYS[6], '!') end
  end
end
-- log puts a call on top of the log. Of more than most calls the oldest fall off, and
-- those of before oldest; a call that has not ended stays kept.
local function log(id, at, most, oldest)
  redis.call('ZADD', KEYS[3], at, id)
  local gone = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. oldest)
  local over = redis.call('ZCARD', KEYS[3]) - #gone - tonumber(most)
  if over > 0 then
    for _, old in ipairs(redis.call('ZRANGE', KEYS[3], #gone, #gone + over - 1)) do gone[#gone + 1] = old end
  end
  for _, old in ipairs(gone) do
    redis.call('ZREM', KEYS[3], old)
    if string.sub(redis.call('HGET', KEYS[1], old) or '', 1, 1) == '0' then redis.call('HDEL', KEYS[1], old) end
  end
end
