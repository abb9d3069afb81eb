-- note: how far the log has a partition's events, if the relay that says so still leads.
-- Guarantees: a relay that was taken over from cannot set the position back.
-- KEYS    1 the relay's hash
-- ARGV    1 owner  2 position (epoch-sequence)
-- RETURNS 1, or 0 where somebody else leads, or nobody

if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'position', ARGV[2])
return 1
