-- pick: hand out a turn in one of the lanes that a worker serves, of routes with tickets.
-- KEYS paused weights waiting
-- ARGV prefix unit host wait_us n_priorities priority... route_id...
-- The keys of lanes begin with the prefix; they share the hash tag of KEYS.
-- The first priority that has a lane counts. Within it the name with the fewest turns
-- so far is next, and among its tickets, and those of others with as many, the oldest.
-- A line is a turn, or a turn and a recipe. What other hosts are warm for, and this one is
-- not, is theirs for as long as wait; after that, what came no later than wait after it
-- and is not theirs still goes first.
-- Returns {priority, route_id, line, tickets that are left in the lane}, or {microseconds
-- until a ticket that was left to other hosts is for any}, or nothing.
local at, unit, host, wait, n = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local looks = 64 -- lines that are looked at of each route
local t = redis.call('TIME')
local seconds, now = t[1], tonumber(t[1]) * 1000000 + tonumber(t[2])
local theirs = {} -- by recipe
local function is_theirs(line)
  local recipe = string.match(line, '~(.*)$')
  if wait == 0 or not recipe then return false end
  if theirs[recipe] == nil then
    local key = at .. 'warm:' .. recipe
    theirs[recipe] = not redis.call('ZSCORE', key, host) and redis.call('ZCOUNT', key, seconds, '+inf') > 0
  end
  return theirs[recipe]
end
local function before(a, b) return not b or a.pass < b.pass or a.pass == b.pass and a.age < b.age end
local paused = {}
for _, p in ipairs(redis.call('HKEYS', KEYS[1])) do paused[p] = true end
local soonest, left_out = nil, {} -- left_out are routes of what was left to other hosts

-- rank looks over the lines of a route in their order, and returns the first that may be
-- handed out, and the first of those that is not theirs.
local function rank(p, route, had)
  local turns, open = at .. 'turns:' .. p, at .. 'open:' .. p .. ':' .. route
  local first, seen = nil, 0
  while seen < looks do
    local found = redis.call('ZRANGE', open, seen, seen + 1, 'WITHSCORES')
    if #found == 0 then break end
    local age, line = string.match(found[1], '^(%d+) (.*)$')
    local turn = string.match(line, '^[^~]*')
    had[turn] = had[turn] or tonumber(redis.call('HGET', turns, turn) or '0')
    -- It may have had turns in other lanes since; it is the next all the same when what
    -- follows has had more.
    local pass = math.max(had[turn], tonumber(found[2]))
    if found[3] and pass ~= tonumber(found[2]) and pass >= tonumber(found[4]) then
      redis.call('ZADD', open, string.format('%.0f', pass), found[1])
    else
      local c = {pass = pass, age = tonumber(age), line = line, turn = turn, route = route, open = open, member = found[1]}
      if first and (c.pass > first.pass or c.age > first.age + wait) then break end
      if not is_theirs(line) then return first or c, c end
      if c.age + wait > now then
        soonest = math.min(soonest or wait, c.age + wait - now)
        left_out[route] = true
      else
        first = first or c
      end
      seen = seen + 1
    end
  end
  return first, nil
end

for i = 6, 5 + n do
  local p, best, ours, had = ARGV[i], nil, nil, {} -- had is the turns so far, by name
  if not paused[p] then
    for j = 6 + n, #ARGV do
      local first, own = rank(p, ARGV[j], had)
      if first and before(first, best) then best = first end
      if own and before(own, ours) then ours = own end
    end
  end
  if best then
    if ours and ours.pass == best.pass and ours.age <= best.age + wait and is_theirs(best.line) then best = ours end
    local weight = tonumber(redis.call('HGET', KEYS[2], best.turn) or '1') or 1
    local pass = string.format('%.0f', best.pass + math.max(1, math.floor(unit / weight)))
    redis.call('HSET', at .. 'turns:' .. p, best.turn, pass, '*', string.format('%.0f', best.pass))
    local ages = at .. 'ages:' .. p .. ':' .. best.route .. ':' .. best.line
    redis.call('LPOP', ages)
    redis.call('ZREM', best.open, best.member)
    local left = redis.call('LLEN', ages)
    if left > 0 then
      redis.call('ZADD', best.open, pass, redis.call('LINDEX', ages, 0) .. ' ' .. best.line)
      left_out[best.route] = true
    end
    if left > 0 or redis.call('EXISTS', best.open) == 1 then
      redis.call('HINCRBY', KEYS[3], p .. ':' .. best.route, -1)
    else -- the count begins anew, whatever it was
      redis.call('HDEL', KEYS[3], p .. ':' .. best.route)
      -- What is left of its bells would wake workers in vain.
      local more = 0
      for k = 6, 5 + n do more = more + redis.call('HEXISTS', KEYS[3], ARGV[k] .. ':' .. best.route) end
      if more == 0 then redis.call('DEL', at .. 'bell:' .. best.route) end
    end
    -- There may be more idle workers than bells were rung, and this one knew when what it
    -- left to others is for any: each one that takes a ticket wakes the next.
    for route in pairs(left_out) do
      local bell = at .. 'bell:' .. route
      if redis.call('EXISTS', bell) == 0 then redis.call('LPUSH', bell, 1) end
    end
    return {p, best.route, best.line, left}
  end
end
if soonest then return {soonest} end
return false
