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
local function event(key, kind, text)
  if text ~= '' then
    redis.call('XADD', key, 'MAXLEN', '~', 256, '*', 't', kind, 'x', text)
  else
    redis.call('XADD', key, 'MAXLEN', '~', 256, '*', 't', kind)
  end
end
-- owned tells whether nonce owns the running job. With lost set, the caller is
-- the reconciler: it must name the owner it saw, whose lease must have passed.
local function owned(job, nonce, lost)
  local r = redis.call('HMGET', job, 'state', 'nonce', 'lease')
  if r[1] ~= 'running' or r[2] ~= nonce then return false end
  return not lost or tonumber(r[3]) < now()
end
