-- confirm: held → confirmed, whole or in part; units not confirmed return to stock in the same
-- step. A hold that is due takes the edge `expire` instead.
-- Guarantees: never after the deadline, swept or not; once; a repeated call with the first call's
-- payment reference gets the first reply; what is answered hold_expired has its event.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 MessagePack {token, payment_reference, {item, account or 0,
--         quantity, ...}}; without lines the whole reservation
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {outcome, reservation}}; outcomes confirmed,
--         replayed, unknown, hold_expired, already_resolved, not_reserved
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include stock
-- @include reservation
-- @include expiry
-- @include selection

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local request = unpacked(ARGV[3] or '')
if not request or not is_token(request[1]) or not is_text(request[2], 255)
   or not are_selected(request[3]) then
  return malformed('request')
end
local token, payment_reference = request[1], request[2]
local record = record_of(partition, token)
if not record then return reply(partition, {'unknown'}) end
if record[STATE] == CONFIRMED and record[PAYMENT_REFERENCE] == payment_reference then
  return reply(partition, {'replayed', view(partition, token, record)})
end
if record[STATE] == CONFIRMED or record[STATE] == CANCELLED then
  return reply(partition, {'already_resolved', view(partition, token, record)})
end
expire_if_due(partition, token, record)
if record[STATE] == EXPIRED then
  flush(partition)
  return reply(partition, {'hold_expired', view(partition, token, record)})
end
local confirmed, released = select_lines(partition, record[LINES], request[3])
if not confirmed then
  return reply(partition, {'not_reserved', view(partition, token, record)})
end

append_event(partition, 'confirm', string.format('%s,"released":%s,"payment_reference":%s',
  reservation_json(partition, token, record[BUYER], confirmed), lines_json(partition, released),
  cjson.encode(payment_reference)))
for i = 1, #confirmed, 2 do move(partition, confirmed[i], confirmed[i + 1], 'held', 'sold') end
release(partition, record, released, 'held', 'available')
record[LINES], record[PAYMENT_REFERENCE] = confirmed, payment_reference
resolve(partition, token, record, CONFIRMED)
touch(partition, token, record)
flush(partition)
return reply(partition, {'confirmed', view(partition, token, record)})
