-- beginrebuild: keep a new rebuild with its images, unless it is there.
-- KEYS rebuilds images   ARGV id rebuild (name image)...
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 0 end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
