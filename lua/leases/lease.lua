-- lease: takes or renews the lead of one partition's relay, on the server's clock.
-- Guarantees: at most one owner whose lease has not run out. Without an outbox no lease is given,
-- so a settled sale leaves no key behind. A lease with more time left than it was given was written
-- before the clock was set back; it counts as run out.
-- KEYS    1 the relay's hash  2 the outbox
-- ARGV    1 owner  2 length of the lease in ms
-- RETURNS {1, noted position or ''} when the caller has the lease, else {0}

local owner, length = ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 0 then return {0} end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end -- not written by a relay
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local noted = redis.call('HMGET', KEYS[1], 'owner', 'until', 'position', 'length')
local left = (tonumber(noted[2] or '') or 0) - now
local given = tonumber(noted[4] or '') or length -- earlier releases do not say how long
if noted[1] and noted[1] ~= owner and left > 0 and left <= given then return {0} end
redis.call('HSET', KEYS[1], 'owner', owner, 'until', string.format('%.0f', now + length),
  'length', ARGV[2])
return {1, noted[3] or ''}
