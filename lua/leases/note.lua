-- note: writes down the position up to which the event log has a partition's events.
-- Guarantees: only the relay that leads writes; a relay that lost the lead cannot set the position
-- back.
-- KEYS    1 the relay's hash
-- ARGV    1 owner  2 position (epoch-sequence)
-- RETURNS 1, or 0 when the caller does not lead

if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'position', ARGV[2])
return 1
