-- expire: held → expired, for holds that are due, oldest first.
-- Guarantees: at most ARGV 3 holds per call, each past its deadline on the partition's clock. A
-- hold whose record is lost or damaged holds up no other: its deadline waits for a repair.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 most holds in this call
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {holds expired, holds still due,
--         next deadline wall_ms or 0, holds without a usable record, ms by which the
--         partition's wall clock is ahead of the server's, ms that a new hold lasts}}
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include stock
-- @include reservation
-- @include expiry

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local most = natural(ARGV[3])
if not is_integer(most, 1, 1000) then return malformed('limit') end
local expired = expire_due(partition, most)
flush(partition)
local parked = redis.call('ZCOUNT', KEYS[5], string.format('%d', PARKED), '(+inf')
local first = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
local deadline = tonumber(first[2])
local next_deadline = deadline < PARKED and deadline + partition.meta.shift or 0
return reply(partition, {
  expired, count_due(partition), next_deadline, parked,
  math.max(0, partition.wall - wall_clock(0)), partition.meta.hold_ms,
})
