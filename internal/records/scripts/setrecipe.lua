-- setrecipe: replace the settings of a recipe, if there is one and they are as the
-- caller saw them.
-- KEYS recipes settings   ARGV name seen settings
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 'missing' end
if (redis.call('HGET', KEYS[2], ARGV[1]) or '') ~= ARGV[2] then return 'stale' end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 'ok'
