-- take_over: takes the lead of one partition's relay from whoever has it.
-- Guarantees: the former leader finds out at its next note or renewal; without an outbox there is
-- nothing to lead, and no key is written.
-- KEYS    1 the relay's hash  2 the outbox
-- ARGV    1 owner  2 length of the lease in ms
-- RETURNS 1, or 0 without an outbox

if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], 'owner', ARGV[1],
  'until', string.format('%.0f', now + tonumber(ARGV[2])), 'length', ARGV[2])
return 1
