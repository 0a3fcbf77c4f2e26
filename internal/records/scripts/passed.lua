-- Prepended to the scripts that move a reader of the ended jobs.
-- passed moves the reader to the end of a page, if it is where the caller saw it: 'ok', or
-- 'again' when this process did so before, or nil.
local function passed(cursors, moved, ended, reader, from, to, mark)
  -- The caller may repeat a call whose answer it did not get, also when another process
  -- moved the reader on meanwhile: moved is what this process did last.
  if redis.call('GET', moved) == to then return 'again' end
  if (redis.call('HGET', cursors, reader) or '0') ~= from then return nil end
  -- A Redis that lost its last second numbers other jobs as it had numbered those of the
  -- page: moving past them would leave them out.
  local last = redis.call('XRANGE', ended, to .. '-0', to .. '-0')[1]
  if not last or (last[2][6] or '') ~= mark then return nil end
  redis.call('HSET', cursors, reader, to)
  redis.call('SET', moved, to, 'EX', 3600)
  return 'ok'
end
