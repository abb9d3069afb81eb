-- release: gives up the lead, so that another relay need not wait for the lease to run out.
-- KEYS    1 the relay's hash
-- ARGV    1 owner
-- RETURNS 1, or 0 when the caller did not lead

if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'owner', 'until', 'length') > 0 and 1 or 0
