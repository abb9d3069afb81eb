-- claim: takes or renews the lease that names the ledger which counts, on the server's clock.
-- Guarantees: a ledger that counts gives way at once to a promoted copy of its own (a higher
-- timeline of the same system). To any other ledger it gives way only when nobody has renewed its
-- lease for `length`. A lease with more time left than `length` was written before the clock was
-- set back; it counts as run out. A lease that was written within the last second is not written
-- again.
-- KEYS    1 the ledger that counts, written only when that changes  2 the lease's end in ms
-- ARGV    1 the caller's ledger: system/timeline  2 length of the lease in ms
--         3 "1" where the caller may take a lease that nobody has, else "0"
-- RETURNS the ledger that counts now; '' for none

local system, timeline = ARGV[1]:match('^(%d+)/(%d+)$')
local length = tonumber(ARGV[2])
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'string' and kind ~= 'none' then redis.call('DEL', key) end -- not written by a claim
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local counts = redis.call('GET', KEYS[1])
local its_system, its_timeline = (counts or ''):match('^(%d+)/(%d+)$')
counts = its_system and counts
local left = (tonumber(redis.call('GET', KEYS[2]) or '') or 0) - now
if not counts and ARGV[3] ~= '1' then return '' end
local lasts = counts and left > 0 and left <= length
if lasts then
  if its_system ~= system or tonumber(timeline) < tonumber(its_timeline) then return counts end
end
if counts ~= ARGV[1] then redis.call('SET', KEYS[1], ARGV[1]) end
if not (lasts and counts == ARGV[1] and left > length - 1000) then
  redis.call('SET', KEYS[2], string.format('%.0f', now + length))
end
return ARGV[1]
