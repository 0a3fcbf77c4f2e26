-- release: the owner (or, with lost set, the reconciler) gives the job up for
-- another attempt. A job that was asked to end is cancelled instead.
-- KEYS job news result log partial past
-- ARGV nonce reason spend(nothing|retry|loss) delay_us expires_in_us cancelled_result log_ttl_s lost(0/1) past max_past from
-- Returns 0 when refused, -1 when it was cancelled, else the new attempt.
if not owned(KEYS[1], ARGV[1], ARGV[8] == '1') then return 0 end
-- What the attempt noted is for the worker that adopts it. The next attempt begins
-- anew, and must not find it.
redis.call('DEL', KEYS[5])
local t = now()
if ARGV[9] ~= '' then
  redis.call('RPUSH', KEYS[6], (redis.call('HGET', KEYS[1], 'claimed') or '0') .. ' ' .. int(t) .. ' ' .. ARGV[9])
  redis.call('LTRIM', KEYS[6], -tonumber(ARGV[10]), -1)
end
-- Only now: an attempt that ends with its job is one of the past, too.
if redis.call('HEXISTS', KEYS[1], 'cancel') == 1 then
  close{job = KEYS[1], news = KEYS[2], result = KEYS[3], log = KEYS[4],
    doc = ARGV[6], state = 'cancelled', from = ARGV[11], ttl = ARGV[7]}
  redis.call('HDEL', KEYS[1], 'nonce') -- what its owner reports now is stale
  return -1
end
local attempt = redis.call('HINCRBY', KEYS[1], 'attempt', 1)
redis.call('HSET', KEYS[1], 'seq', 1, 'queued', int(t), 'state', 'queued')
redis.call('HDEL', KEYS[1], 'nonce', 'lease', 'stage', 'name', 'cid', 'deadline', 'worker', 'host',
  'expires', 'start_by')
local kind = 'returned'
if ARGV[3] == 'retry' then
  kind = 'retry'
  redis.call('HINCRBY', KEYS[1], 'retries', 1)
  redis.call('HDEL', KEYS[1], 'losses')
elseif ARGV[3] == 'loss' then
  kind = 'lost'
  redis.call('HINCRBY', KEYS[1], 'losses', 1)
end
if tonumber(ARGV[4]) > 0 then
  redis.call('HSET', KEYS[1], 'state', 'waiting', 'not_before', int(t + tonumber(ARGV[4])))
end
-- The pause between attempts is not time in the queue: it would use up the timeout.
if ARGV[5] ~= '0' then
  redis.call('HSET', KEYS[1], 'expires', int(t + tonumber(ARGV[4]) + tonumber(ARGV[5])))
end
event(KEYS[1], KEYS[2], kind, ARGV[2])
return attempt
