-- adjust: an operator adds units to an account, or takes units out.
-- Guarantees: never below the floor; once per key; the reply has the counters the decision was made
--         on. A preview runs through this decision too and ends before the first write.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 MessagePack {account, delta, reason, actor, preview, key,
--         fingerprint}; with an empty key a repeated call adjusts again
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {outcome, available, held, sold,
--         floor, sequence}}; outcomes adjusted, replayed, key_reused, too_many,
--         floor_violation, ledger_behind, closed, and would_adjust for a preview. `sequence` is
--         that of the adjustment's event, else of the partition's last event
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include stock
-- @include adjustments

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local request = unpacked(ARGV[3] or '')
if not request or not is_integer(request[1], 1, partition.account_count)
   or not is_integer(request[2], -LARGEST, LARGEST) or request[2] == 0
   or not is_text(request[3], 255) or not is_text(request[4], 128)
   or type(request[5]) ~= 'boolean'
   or request[6] ~= '' and not (is_token(request[6]) and is_fingerprint(request[7])) then
  return malformed('request')
end
local index, delta, key, fingerprint = request[1], request[2], request[6], request[7]
local account = partition.accounts[index]
local item = account[3]
local counters = stock_of(partition, index)
local floor = partition.items[item][4]
local function answer(outcome, sequence)
  return reply(partition, {
    outcome, available_of(partition, item), counters.held, counters.sold, floor,
    sequence or partition.meta.sequence,
  })
end
local made = {}
if key ~= '' then
  made = adjustments_of(partition)
  local outcome, sequence = adjusted_before(made, key, fingerprint)
  if outcome then return answer(outcome, sequence) end
end
if partition.meta.state == 'closed' then return answer('closed') end
if is_behind(partition) then return answer('ledger_behind') end
local breaks_floor = available_of(partition, item) + delta < floor
  or counters.available + delta < account_floor(partition, item)
if delta < 0 and breaks_floor then return answer('floor_violation') end
local given = counters.loaded + counters.adjusted + counters.transferred + delta
if counters.available + delta > LARGEST or math.abs(given) > LARGEST_COUNTER - LARGEST then
  return malformed('delta')
end
if not make_room(made, partition.wall) then return answer('too_many') end
if request[5] then return answer('would_adjust') end

append_event(partition, 'adjust', string.format(
  '"sku":"%s","location":"%s","delta":%d,"reason":%s,"actor":%s%s',
  account[1], account[2], delta, cjson.encode(request[3]), cjson.encode(request[4]),
  key == '' and '' or string.format(',"adjust_key":"%s","fingerprint":"%s"', key, fingerprint)))
change(partition, index, 'adjusted', delta)
change(partition, index, 'available', delta)
flush(partition)
if key ~= '' then
  made[#made + 1], made[#made + 2] = key .. ':' .. fingerprint, partition.meta.sequence
  made[#made + 1] = partition.wall
  store_adjustments(partition.keys, made)
end
return answer('adjusted')
