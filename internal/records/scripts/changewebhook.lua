-- changewebhook: replace a webhook, if it is as the caller saw it.
-- KEYS webhooks fails   ARGV name seen webhook
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 'stale' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HDEL', KEYS[2], ARGV[1])
return 'ok'
