-- cancel: held → cancelled; every unit returns to stock. A hold that is due takes the edge `expire`
-- instead.
-- Guarantees: a reservation is cancelled once; a repeated call gets the first reply and returns no
-- unit again; what is answered hold_expired has its event.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 MessagePack {token, actor}
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {outcome, reservation}}; outcomes cancelled,
--         replayed, unknown, hold_expired, already_resolved
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
if not request or not is_token(request[1]) or not is_text(request[2], 128) then
  return malformed('request')
end
local token = request[1]
local record = record_of(partition, token)
if not record then return reply(partition, {'unknown'}) end
if record[STATE] == CANCELLED then
  return reply(partition, {'replayed', view(partition, token, record)})
end
if record[STATE] == CONFIRMED then
  return reply(partition, {'already_resolved', view(partition, token, record)})
end
expire_if_due(partition, token, record)
if record[STATE] == EXPIRED then
  flush(partition)
  return reply(partition, {'hold_expired', view(partition, token, record)})
end

append_event(partition, 'cancel', string.format('%s,"actor":%s',
  reservation_json(partition, token, record[BUYER], record[LINES]), cjson.encode(request[2])))
release(partition, record, record[LINES], 'held', 'available')
resolve(partition, token, record, CANCELLED)
touch(partition, token, record)
flush(partition)
return reply(partition, {'cancelled', view(partition, token, record)})
