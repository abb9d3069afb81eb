-- extend: held → held, with a later deadline. A hold that is due takes the edge `expire` instead.
-- Guarantees: a deadline never moves back; all extensions of a hold together stay within the sale's
-- allowance; what is answered hold_expired has its event.
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
-- @include expiry

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local request = unpacked(ARGV[3] or '')
if not request or not is_token(request[1]) or not is_integer(request[2], 1, LARGEST) then
  return malformed('request')
end
local token = request[1]
local record = record_of(partition, token)
if not record then return reply(partition, {'unknown'}) end
if record[STATE] == CONFIRMED or record[STATE] == CANCELLED then
  return reply(partition, {'already_resolved', view(partition, token, record)})
end
expire_if_due(partition, token, record)
if record[STATE] == EXPIRED then
  flush(partition)
  return reply(partition, {'hold_expired', view(partition, token, record)})
end
local granted = math.min(request[2], partition.meta.extension_ms - record[EXTENDED_MS])
if granted <= 0 then return reply(partition, {'at_cap', view(partition, token, record)}) end
if is_behind(partition) then return reply(partition, {'ledger_behind'}) end

record[DEADLINE] = record[DEADLINE] + granted
record[EXTENDED_MS] = record[EXTENDED_MS] + granted
append_event(partition, 'extend', string.format('%s,"deadline":%.0f,"extended_ms":%d',
  reservation_json(partition, token, record[BUYER], record[LINES]),
  record[DEADLINE] + partition.meta.shift, record[EXTENDED_MS]))
partition.deadlines[token] = record[DEADLINE]
touch(partition, token, record)
flush(partition)
return reply(partition, {'extended', view(partition, token, record)})
