-- acknowledge: move a reader of the stream of ended jobs, if it is where the caller
-- saw it.
-- KEYS cursors moved   ARGV reader from to
-- The caller may repeat a call whose answer it did not get, also when another process
-- moved the reader on meanwhile: moved is what this process did last.
if redis.call('GET', KEYS[2]) == ARGV[3] then return 1 end
if (redis.call('HGET', KEYS[1], ARGV[1]) or '0') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[3], 'EX', 3600)
return 1
