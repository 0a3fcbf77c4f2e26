-- finish: accept the owner's result, or set a stale one aside.
-- KEYS job news result log stale partial
-- ARGV nonce state result kept log_ttl_s lost(0/1) from
local r = redis.call('HMGET', KEYS[1], 'state', 'nonce')
if not r[1] then return 'missing' end
if not owned(KEYS[1], ARGV[1], ARGV[6] == '1') then
  -- The owner repeats a report whose answer it did not get.
  if r[2] == ARGV[1] and redis.call('EXISTS', KEYS[3]) == 1 then return 'again' end
  if ARGV[6] == '0' then
    redis.call('LPUSH', KEYS[5], ARGV[3])
    redis.call('LTRIM', KEYS[5], 0, 2)
    event(KEYS[1], KEYS[2], 'stale_result', '')
  end
  return 'stale'
end
if not close{job = KEYS[1], news = KEYS[2], result = KEYS[3], log = KEYS[4],
    doc = ARGV[3], state = ARGV[2], from = ARGV[7], ttl = ARGV[5], kept = ARGV[4] == '1'} then
  return 'forbidden'
end
-- The dead owner may come back; what it reports then is stale.
if ARGV[6] == '1' then redis.call('HDEL', KEYS[1], 'nonce') end
redis.call('DEL', KEYS[6])
return 'ok'
