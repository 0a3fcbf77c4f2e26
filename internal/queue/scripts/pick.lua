-- pick: hand out a turn in one of the lanes that a worker serves, of routes with tickets.
-- KEYS paused weights waiting   ARGV prefix unit n_priorities priority... route_id...
-- The keys of lanes begin with the prefix; they share the hash tag of KEYS.
-- The first priority that has a lane counts. Within it the name with the fewest turns
-- so far is next, and among its tickets, and those of others with as many, the oldest.
-- Returns {priority, route_id, turn, tickets that are left in the lane}, or nothing.
local at, unit, n = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local paused = {}
for _, p in ipairs(redis.call('HKEYS', KEYS[1])) do paused[p] = true end
for i = 4, 3 + n do
  local p, best = ARGV[i], nil
  if not paused[p] then
    local turns, had = at .. 'turns:' .. p, {} -- had is the turns so far, by name
    for j = 4 + n, #ARGV do
      local lane = p .. ':' .. ARGV[j]
      local open = at .. 'open:' .. lane
      while true do
        local first = redis.call('ZRANGE', open, 0, 1, 'WITHSCORES')
        if #first == 0 then break end
        local age, turn = string.match(first[1], '^(%d+) (.*)$')
        had[turn] = had[turn] or tonumber(redis.call('HGET', turns, turn) or '0')
        -- It may have had turns in other lanes since; it is the first all the same when the
        -- next one has had more.
        local pass = math.max(had[turn], tonumber(first[2]))
        if not first[3] or pass < tonumber(first[4]) or pass == tonumber(first[2]) then
          if not best or pass < best.pass or pass == best.pass and age < best.age then
            best = {pass = pass, age = age, turn = turn, route = ARGV[j], open = open, member = first[1]}
          end
          break
        end
        redis.call('ZADD', open, string.format('%.0f', pass), first[1])
      end
    end
    if best then
      local weight = tonumber(redis.call('HGET', KEYS[2], best.turn) or '1') or 1
      local pass = string.format('%.0f', best.pass + math.max(1, math.floor(unit / weight)))
      redis.call('HSET', turns, best.turn, pass, '*', string.format('%.0f', best.pass))
      local ages = at .. 'ages:' .. p .. ':' .. best.route .. ':' .. best.turn
      redis.call('LPOP', ages)
      redis.call('ZREM', best.open, best.member)
      local left = redis.call('LLEN', ages)
      if left > 0 then
        redis.call('ZADD', best.open, pass, redis.call('LINDEX', ages, 0) .. ' ' .. best.turn)
        -- There may be more idle workers than bells were rung: each one that takes a ticket
        -- wakes the next.
        local bell = at .. 'bell:' .. best.route
        if redis.call('EXISTS', bell) == 0 then redis.call('LPUSH', bell, 1) end
      end
      if left > 0 or redis.call('EXISTS', best.open) == 1 then
        redis.call('HINCRBY', KEYS[3], p .. ':' .. best.route, -1)
      else -- the count begins anew, whatever it was
        redis.call('HDEL', KEYS[3], p .. ':' .. best.route)
        -- What is left of its bells would wake workers in vain.
        local more = 0
        for k = 4, 3 + n do more = more + redis.call('HEXISTS', KEYS[3], ARGV[k] .. ':' .. best.route) end
        if more == 0 then redis.call('DEL', at .. 'bell:' .. best.route) end
      end
      return {p, best.route, best.turn, left}
    end
  end
end
return false
