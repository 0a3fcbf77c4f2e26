-- acknowledge: move a reader of the stream of ended jobs, if it is where the caller
-- saw it.
-- KEYS cursors moved ended   ARGV reader from to mark
-- The caller may repeat a call whose answer it did not get, also when another process
-- moved the reader on meanwhile: moved is what this process did last.
if redis.call('GET', KEYS[2]) == ARGV[3] then return 1 end
if (redis.call('HGET', KEYS[1], ARGV[1]) or '0') ~= ARGV[2] then return 0 end
-- A Redis that lost its last second numbers other jobs as it had numbered those of the
-- page: moving past them would leave them out.
local last = redis.call('XRANGE', KEYS[3], ARGV[3] .. '-0', ARGV[3] .. '-0')[1]
if not last or (last[2][6] or '') ~= ARGV[4] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[3], 'EX', 3600)
return 1
