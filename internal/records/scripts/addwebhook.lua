-- addwebhook: keep a new webhook.
-- KEYS webhooks fails   ARGV name webhook most
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 'again' end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 'full' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[1]) -- of one of that name before
return 'ok'
