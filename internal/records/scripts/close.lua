-- Prepended to every script, behind common.lua.
-- close is the one door through which a job ends: no other line makes a state
-- terminal. c.from lists the states, between spaces, that may become c.state; Go
-- takes them from the one table of moves. c.doc is the result; without one it is
-- there already. c.kept is set while a service, and with it the log, goes on. False
-- means that the job is in no such state, and nothing has changed.
-- The caller of the script announces the end before it moves the job in the indexes:
-- see announce.lua.
local function close(c)
  local was = redis.call('HGET', c.job, 'state') or ''
  if not string.find(c.from, ' ' .. was .. ' ', 1, true) then return false end
  if c.doc then redis.call('SET', c.result, c.doc) end
  redis.call('HSET', c.job, 'state', c.state, 'finished', int(now()))
  redis.call('HDEL', c.job, 'lease', 'stage', 'deadline', 'name', 'cid', 'not_before')
  if c.kept then
    redis.call('HSET', c.job, 'kept', 1)
  else
    redis.call('HDEL', c.job, 'lb')
    if c.log then redis.call('EXPIRE', c.log, c.ttl) end
  end
  event(c.job, c.news, 'finished', c.state)
  return true
end
