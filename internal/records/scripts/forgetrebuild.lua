-- forgetrebuild: remove a rebuild that has not changed since the caller saw it.
-- KEYS rebuilds images   ARGV id rev
local have = redis.call('HGET', KEYS[1], ARGV[1])
if not have or tostring(cjson.decode(have).rev) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
