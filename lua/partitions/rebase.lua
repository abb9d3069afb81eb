-- rebase: the partition's wall clock is the server's again, after the server's clock was set back.
-- Guarantees: only where the partition's wall clock is ahead by more than ARGV 3. The partition's
-- own clock goes on from where it stood: nothing that was answered by it comes back, and every hold
-- keeps exactly the time it had left, so its deadline on the wall clock moves back by the step.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 most ms ahead that are left alone
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {outcome, ms ahead}}; outcomes rebased,
--         in_step
-- @include arguments
-- @include record
-- @include partition

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local most = natural(ARGV[3])
if not is_integer(most, 0, LARGEST) then return malformed('bound') end
local meta, server = partition.meta, wall_clock(0)
local ahead = partition.wall - server
if ahead <= most then return reply(partition, {'in_step', math.max(0, ahead)}) end

partition.wall = server
frame_events(partition)
append_event(partition, 'rebase', string.format('"shift_ms":-%.0f', ahead))
flush(partition)
meta.shift = meta.shift - ahead
redis.call('HSET', KEYS[1], 'shift', string.format('%.0f', meta.shift))
return reply(partition, {'rebased', ahead})
