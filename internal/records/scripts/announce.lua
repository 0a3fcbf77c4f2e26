-- announce: add an ended job to the stream of ended jobs, unless it is there.
-- KEYS ended announced cursors   ARGV id state most mark
-- Entries are numbered, so that a reader sees how many fell off before it came.
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local n = 1
if last then n = tonumber(string.match(last[1], '^%d+')) + 1 end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], string.format('%.0f-0', n), 'id', ARGV[1], 'state', ARGV[2], 'mark', ARGV[4])
redis.call('HSET', KEYS[3], '*', string.format('%.0f', n)) -- beside the cursors: both are read at once
redis.call('ZADD', KEYS[2], n, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', n - tonumber(ARGV[3]))
return n
