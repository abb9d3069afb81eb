-- extend: held → held, with a later deadline. A hold that is due takes the edge `expire` instead.
-- Guarantees: a deadline never moves back; all extensions of a hold together stay within the sale's
-- allowance; once per key; what is answered hold_expired has its event.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 MessagePack {token, milliseconds, key}; with an empty key
--         a repeated call extends again
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {outcome, reservation}}; outcomes extended,
--         replayed, key_reused, at_cap, too_many, unknown, hold_expired, already_resolved,
--         ledger_behind
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include stock
-- @include reservation
-- @include expiry
-- @include call_keys

local MOST_KEYS = 32 -- extensions of one reservation that had a key; its record keeps each key

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local request = unpacked(ARGV[3] or '')
if not request or not is_token(request[1]) or not is_integer(request[2], 1, LARGEST)
   or request[3] ~= '' and not is_token(request[3]) then
  return malformed('request')
end
local token, key, asked = request[1], request[3], string.format('%d', request[2])
local record = record_of(partition, token)
if not record then return reply(partition, {'unknown'}) end
local before = key ~= '' and used_before(record[EXTEND_KEYS], key, asked)
if before == 'key_reused' then return reply(partition, {'key_reused'}) end
if before then
  expire_if_due(partition, token, record)
  flush(partition)
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
local granted = math.min(request[2], partition.meta.extension_ms - record[EXTENDED_MS])
if granted <= 0 then return reply(partition, {'at_cap', view(partition, token, record)}) end
if key ~= '' and #(record[EXTEND_KEYS] or {}) >= MOST_KEYS then
  return reply(partition, {'too_many', view(partition, token, record)})
end
if is_behind(partition) then return reply(partition, {'ledger_behind'}) end

record[DEADLINE] = record[DEADLINE] + granted
record[EXTENDED_MS] = record[EXTENDED_MS] + granted
append_event(partition, 'extend', string.format('%s,"deadline":%.0f,"extended_ms":%d%s',
  reservation_json(partition, token, record[BUYER], record[LINES]),
  record[DEADLINE] + partition.meta.shift, record[EXTENDED_MS],
  key == '' and '' or string.format(',"extend_key":"%s","asked_ms":%s', key, asked)))
if key ~= '' then keep_extend_key(record, key, asked) end
partition.deadlines[token] = record[DEADLINE]
touch(partition, token, record)
flush(partition)
return reply(partition, {'extended', view(partition, token, record)})
