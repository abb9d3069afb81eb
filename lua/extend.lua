-- extend: held → held, with a later deadline.
-- Guarantees: never shortens; all extensions of a hold together stay within the sale's allowance.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 MessagePack {token, milliseconds}
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {outcome, reservation}}; outcomes extended,
--         at_cap, unknown, hold_expired, already_resolved, ledger_behind
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include stock
-- @include reservation

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local request = unpacked(ARGV[3] or '')
if not request or not is_token(request[1]) or not is_integer(request[2], 1, LARGEST) then
  return malformed('request')
end
local token = request[1]
local record = record_of(partition, token)
if not record then return reply(partition, {'unknown'}) end
if record.state == CONFIRMED or record.state == CANCELLED then
  return reply(partition, {'already_resolved', view(partition, token, record)})
end
if record.state == EXPIRED or record.deadline <= partition.now then
  return reply(partition, {'hold_expired', view(partition, token, record)})
end
local granted = math.min(request[2], partition.meta.extension_ms - record.extended_ms)
if granted <= 0 then return reply(partition, {'at_cap', view(partition, token, record)}) end
if is_behind(partition) then return reply(partition, {'ledger_behind'}) end

record.deadline, record.extended_ms = record.deadline + granted, record.extended_ms + granted
append_event(partition, 'extend', string.format('%s,"deadline":%.0f,"extended_ms":%d',
  reservation_json(partition, token, record), record.deadline + partition.meta.shift,
  record.extended_ms))
partition.deadlines[token] = record.deadline
touch(partition, token, record)
flush(partition)
return reply(partition, {'extended', view(partition, token, record)})
