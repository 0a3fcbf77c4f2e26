-- setrecipe: replace the settings of a recipe, if there is one.
-- KEYS recipes settings   ARGV name settings
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
