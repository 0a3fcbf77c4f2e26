-- changerebuild: replace a rebuild and some of its images, if nothing of it has changed
-- since the caller saw it.
-- KEYS rebuilds images   ARGV id rev next (name image)...
-- A farm that moves a rebuild on reads it as a whole first. Two that do so at once, or one
-- that was stopped for an hour in between, must not undo what the other did.
local have = redis.call('HGET', KEYS[1], ARGV[1])
if not have or tostring(cjson.decode(have).rev) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
for i = 4, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1
