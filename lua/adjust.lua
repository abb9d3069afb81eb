-- adjust: an operator adds units to an account, or takes units out.
-- Guarantees: never below the floor; the reply has the counters the decision was made on. A preview
--         runs through this decision too and ends before the first write.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 MessagePack {account, delta, reason, actor, preview}
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {outcome, available, held, sold,
--         floor, sequence}}; outcomes adjusted, floor_violation, ledger_behind, closed,
--         and would_adjust for a preview
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include stock

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local request = unpacked(ARGV[3] or '')
if not request or not is_integer(request[1], 1, #partition.accounts)
   or not is_integer(request[2], -LARGEST, LARGEST) or request[2] == 0
   or not is_text(request[3], 255) or not is_text(request[4], 128)
   or type(request[5]) ~= 'boolean' then
  return malformed('request')
end
local index, delta = request[1], request[2]
local account = partition.accounts[index]
local item = account[3]
local counters = stock_of(partition, index)
local floor = partition.items[item][4]
local function answer(outcome)
  return reply(partition, {
    outcome, available_of(partition, item), counters.held, counters.sold, floor,
    partition.meta.sequence,
  })
end
if partition.meta.state == 'closed' then return answer('closed') end
if is_behind(partition) then return answer('ledger_behind') end
local breaks_floor = available_of(partition, item) + delta < floor
  or counters.available + delta < account_floor(partition, item)
if delta < 0 and breaks_floor then return answer('floor_violation') end
if counters.available + delta > LARGEST then return malformed('delta') end
if request[5] then return answer('would_adjust') end

append_event(partition, 'adjust', string.format(
  '"sku":"%s","location":"%s","delta":%d,"reason":%s,"actor":%s',
  account[1], account[2], delta, cjson.encode(request[3]), cjson.encode(request[4])))
counters.adjusted = counters.adjusted + delta
counters.available = counters.available + delta
flush(partition)
return answer('adjusted')
