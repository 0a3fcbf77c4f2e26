-- Prepended to every script. All keys of one script share the job's hash tag.
local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local function num(key, field)
  return tonumber(redis.call('HGET', key, field) or '0') or 0
end
-- Lua prints large numbers as 1.8e+15; Redis must get whole digits.
local function int(n) return string.format('%.0f', n) end
-- event adds e<n> = "milliseconds type text" to the record, forgets the oldest
-- of more than 100, and wakes who follows the job. A stream of its own would
-- take 4 KB for each job.
local function event(job, news, kind, text)
  local t = redis.call('TIME')
  local n = redis.call('HINCRBY', job, 'en', 1)
  local at = t[1] .. string.format('%03d', math.floor(tonumber(t[2]) / 1000))
  if text ~= '' then text = ' ' .. text end
  redis.call('HSET', job, 'e' .. n, at .. ' ' .. kind .. text)
  if n > 100 then redis.call('HDEL', job, 'e' .. (n - 100)) end
  if news then
    redis.call('XADD', news, 'MAXLEN', 1, n .. '-0', 'n', '')
    redis.call('EXPIRE', news, 10)
  end
end
-- owned tells whether nonce owns the running job. With lost set, the caller is
-- the reconciler: it must name the owner it saw, whose lease must have passed.
local function owned(job, nonce, lost)
  local r = redis.call('HMGET', job, 'state', 'nonce', 'lease')
  if r[1] ~= 'running' or r[2] ~= nonce then return false end
  return not lost or tonumber(r[3]) < now()
end
-- keeps reports whether the job keeps a service under nonce. A recreated record has
-- no nonce, and its worker reads an empty one.
local function keeps(job, nonce)
  local r = redis.call('HMGET', job, 'kept', 'nonce')
  return r[1] and (r[2] or '') == nonce
end
