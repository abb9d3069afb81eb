-- take_over: the lead of one partition's relay, whoever has it.
-- Guarantees: the relay that had it learns so when it notes or renews; nothing is left behind where
-- there is no outbox, and so nothing to lead.
-- KEYS    1 the relay's hash  2 the outbox
-- ARGV    1 owner  2 length of the lease in ms
-- RETURNS 1, or 0 where there is no outbox

if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], 'owner', ARGV[1],
  'until', string.format('%.0f', now + tonumber(ARGV[2])))
return 1
