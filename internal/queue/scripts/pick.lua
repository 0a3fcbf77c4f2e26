-- pick: hand out a turn in one of the lanes that a worker serves, of routes with tickets.
-- KEYS paused weights waiting
-- ARGV prefix unit host wait_us n_priorities priority... route_id...
-- The keys of lanes begin with the prefix; they share the hash tag of KEYS.
-- The first priority that has a lane counts. Within it the name with the fewest turns
-- so far is next, and among its tickets, and those of others with as many, the oldest.
-- What other hosts are warm for, and this one is not, is theirs for as long as wait; after
-- that, what came no later than wait after it and is not theirs still goes first.
-- Returns {priority, route_id, turn, recipe, tickets that are left in the lane, microseconds
-- until the next ticket that was left to other hosts is for any, or 0}, an array of those
-- microseconds alone, or nothing.
local at, unit, host, wait, n = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local looks = 64 -- how many names of a route, and recipes of a name, are looked at
local t = redis.call('TIME')
local seconds, now = t[1], tonumber(t[1]) * 1000000 + tonumber(t[2])
local theirs = {} -- by recipe
local function is_theirs(recipe)
  if wait == 0 or recipe == '' then return false end
  if theirs[recipe] == nil then
    local key = at .. 'warm:' .. recipe
    theirs[recipe] = not redis.call('ZSCORE', key, host) and redis.call('ZCOUNT', key, seconds, '+inf') > 0
  end
  return theirs[recipe]
end
local function before(a, b) return not b or a.pass < b.pass or a.pass == b.pass and a.age < b.age end
-- beyond tells that nothing from there on can go before c.
local function beyond(pass, age, c) return c and (pass > c.pass or pass == c.pass and age > c.age + wait) end
local paused = {}
for _, p in ipairs(redis.call('HKEYS', KEYS[1])) do paused[p] = true end
local soonest

-- lines looks over the recipes of a name, the oldest ticket first, and returns the first
-- that may be handed out, and the first of those that is not theirs.
local function lines(turn)
  local first
  local found = redis.call('ZRANGE', turn.lines, 0, looks - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    local c = {turn = turn, pass = turn.pass, recipe = found[i], age = tonumber(found[i + 1])}
    if beyond(c.pass, c.age, first) then break end
    if not is_theirs(c.recipe) then return first or c, c end
    if c.age + wait > now then
      soonest = math.min(soonest or wait, c.age + wait - now)
    else
      first = first or c
    end
  end
  return first, nil
end

-- names does the same for all names of a route, those with the fewest turns first, as far as
-- they may go before best.
local function names(p, route, had, best)
  local turns, place = at .. 'turns:' .. p, p .. ':' .. route
  local open, first, seen = at .. 'open:' .. place, nil, 0
  while seen < looks do
    local found = redis.call('ZRANGE', open, seen, seen + 1, 'WITHSCORES')
    if #found == 0 then break end
    local age, name = string.match(found[1], '^(%d+) (.*)$')
    had[name] = had[name] or tonumber(redis.call('HGET', turns, name) or redis.call('HGET', turns, '*') or '0')
    -- It may have had turns in other lanes since; it is the next all the same when what
    -- follows has had more.
    local pass = math.max(had[name], tonumber(found[2]))
    age = tonumber(age)
    if found[3] and pass ~= tonumber(found[2]) and pass >= tonumber(found[4]) then
      redis.call('ZADD', open, string.format('%.0f', pass), found[1])
    else
      if beyond(pass, age, first) or beyond(pass, age, best) then break end
      local c, own = lines({name = name, pass = pass, route = route, open = open, entry = found[1], lines = at .. 'lines:' .. place .. ':' .. name})
      first = first or c
      if own then return first, own end
      seen = seen + 1
    end
  end
  return first, nil
end

for i = 6, 5 + n do
  local p, best, ours, had = ARGV[i], nil, nil, {} -- had is the turns so far, by name
  if not paused[p] then
    for j = 6 + n, #ARGV do
      local first, own = names(p, ARGV[j], had, best)
      if first and before(first, best) then best = first end
      if own and before(own, ours) then ours = own end
    end
  end
  if best then
    if ours and ours.pass == best.pass and ours.age <= best.age + wait and is_theirs(best.recipe) then best = ours end
    local turn, place = best.turn, p .. ':' .. best.turn.route
    local weight = math.max(1, tonumber(redis.call('HGET', KEYS[2], turn.name) or '1') or 1)
    local pass = string.format('%.0f', best.pass + math.max(1, math.floor(unit / weight)))
    redis.call('HSET', at .. 'turns:' .. p, turn.name, pass, '*', string.format('%.0f', best.pass))
    local ages = at .. 'ages:' .. place .. ':' .. turn.name
    if best.recipe ~= '' then ages = ages .. '~' .. best.recipe end
    redis.call('LPOP', ages)
    local left = redis.call('LLEN', ages)
    if left > 0 then
      redis.call('ZADD', turn.lines, redis.call('LINDEX', ages, 0), best.recipe)
    else
      redis.call('ZREM', turn.lines, best.recipe)
    end
    redis.call('ZREM', turn.open, turn.entry)
    local oldest = redis.call('ZRANGE', turn.lines, 0, 0, 'WITHSCORES')
    if oldest[1] then redis.call('ZADD', turn.open, pass, string.format('%.0f', tonumber(oldest[2])) .. ' ' .. turn.name) end
    local bell = at .. 'bell:' .. turn.route
    if oldest[1] or redis.call('EXISTS', turn.open) == 1 then
      redis.call('HINCRBY', KEYS[3], place, -1)
      -- There may be more idle workers than bells were rung: each one that takes a ticket
      -- wakes the next.
      if left > 0 and redis.call('EXISTS', bell) == 0 then redis.call('LPUSH', bell, 1) end
    else -- the count begins anew, whatever it was
      redis.call('HDEL', KEYS[3], place)
      -- What is left of its bells would wake workers in vain.
      local more = 0
      for k = 6, 5 + n do more = more + redis.call('HEXISTS', KEYS[3], ARGV[k] .. ':' .. turn.route) end
      if more == 0 then redis.call('DEL', bell) end
    end
    return {p, turn.route, turn.name, best.recipe, left, soonest or 0}
  end
end
if soonest then return {soonest} end
return false
