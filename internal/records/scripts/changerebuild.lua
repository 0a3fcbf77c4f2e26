-- changerebuild: replace a rebuild and some of its images, if all of them are as the
-- caller saw them.
-- KEYS rebuilds images   ARGV id seen next (name seen next)...
-- A farm that moves a rebuild on reads it as a whole first. Two that do so at once, or one
-- that was stopped for an hour in between, must not undo what the other did.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
for i = 4, #ARGV, 3 do
  if redis.call('HGET', KEYS[2], ARGV[i]) ~= ARGV[i + 1] then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
for i = 4, #ARGV, 3 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 2]) end
return 1
