-- return_units: confirmed → confirmed, with units given back after the sale, restocked or
-- written off. A hold that is due takes the edge `expire` first.
-- Guarantees: each unit at most once, never more than was confirmed; once per return key.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 MessagePack {token, return_key, {item, account or 0, quantity, ...},
--         restock, reason, fingerprint}; without lines every unit not yet returned
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {outcome, reservation}}; outcomes returned,
--         replayed, key_reused, unknown, not_confirmed, not_sold, too_many
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include stock
-- @include reservation
-- @include expiry
-- @include selection
-- @include call_keys

local MOST_RETURNS = 32 -- returns of one reservation; each return keeps its key in the record

local function remaining(record)
  local returned, left = {}, {}
  local before = record[RETURNED] or {}
  for i = 1, #before, 2 do returned[before[i]] = before[i + 1] end
  for i = 1, #record[LINES], 2 do
    local quantity = record[LINES][i + 1] - (returned[record[LINES][i]] or 0)
    if quantity > 0 then left[#left + 1], left[#left + 2] = record[LINES][i], quantity end
  end
  return left, returned
end

local function remember(record, returned, lines, key, fingerprint)
  for i = 1, #lines, 2 do returned[lines[i]] = (returned[lines[i]] or 0) + lines[i + 1] end
  record[RETURNED], record[RETURN_KEYS] = {}, record[RETURN_KEYS] or {}
  for i = 1, #record[LINES], 2 do
    local quantity = returned[record[LINES][i]]
    if quantity then
      record[RETURNED][#record[RETURNED] + 1] = record[LINES][i]
      record[RETURNED][#record[RETURNED] + 1] = quantity
    end
  end
  record[RETURN_KEYS][#record[RETURN_KEYS] + 1] = key .. ':' .. fingerprint
end

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local request = unpacked(ARGV[3] or '')
if not request or not is_token(request[1]) or not is_token(request[2])
   or not are_selected(request[3]) or type(request[4]) ~= 'boolean' or not is_text(request[5], 255)
   or not is_fingerprint(request[6]) then
  return malformed('request')
end
local token, key, restock, fingerprint = request[1], request[2], request[4], request[6]
local record = record_of(partition, token)
if not record then return reply(partition, {'unknown'}) end
local before = used_before(record[RETURN_KEYS], key, fingerprint)
if before == 'key_reused' then return reply(partition, {'key_reused'}) end
if before then return reply(partition, {'replayed', view(partition, token, record)}) end
if record[STATE] ~= CONFIRMED then
  expire_if_due(partition, token, record)
  flush(partition)
  return reply(partition, {'not_confirmed', view(partition, token, record)})
end
local left, returned = remaining(record)
local lines = #left > 0 and select_lines(partition, left, request[3])
if not lines then return reply(partition, {'not_sold', view(partition, token, record)}) end
if #(record[RETURN_KEYS] or {}) >= MOST_RETURNS then
  return reply(partition, {'too_many', view(partition, token, record)})
end

append_event(partition, 'return_units', string.format(
  '%s,"restock":%s,"reason":%s,"return_key":"%s","fingerprint":"%s"',
  reservation_json(partition, token, record[BUYER], lines), tostring(restock),
  cjson.encode(request[5]), key, fingerprint))
release(partition, record, lines, 'sold', restock and 'available' or 'adjusted')
if not restock then
  for i = 1, #lines, 2 do -- written off: the units leave `sold` and the sale as a whole
    change(partition, lines[i], 'adjusted', -2 * lines[i + 1])
  end
end
remember(record, returned, lines, key, fingerprint)
touch(partition, token, record)
flush(partition)
return reply(partition, {'returned', view(partition, token, record)})
