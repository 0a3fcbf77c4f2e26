-- end: a job that no worker has ends here and now: cancelled or expired.
-- A running job, or a kept service, is marked for its worker instead: its container
-- must end before the record may say that the job has.
-- KEYS job news result log   ARGV by state result log_ttl_s only_if_expired(0/1) from
local r = redis.call('HMGET', KEYS[1], 'state', 'expires', 'cancel', 'kept')
if not r[1] then return 'missing' end
if ARGV[5] == '1' and not (r[2] and tonumber(r[2]) < now()) then return 'early' end
if r[1] ~= 'running' and close{job = KEYS[1], news = KEYS[2], result = KEYS[3], log = KEYS[4],
    doc = ARGV[3], state = ARGV[2], from = ARGV[6], ttl = ARGV[4]} then
  -- Who cancelled it stays in the record, also where no worker has to be told.
  if ARGV[1] ~= '' then redis.call('HSET', KEYS[1], 'cancel', ARGV[1]) end
  return r[1]
end
if ARGV[5] == '1' then return 'early' end
if r[1] == 'running' or r[4] then
  if not r[3] then
    redis.call('HSET', KEYS[1], 'cancel', ARGV[1])
    event(KEYS[1], KEYS[2], 'cancel_requested', ARGV[1])
  end
  return 'asked'
end
return 'finished'
