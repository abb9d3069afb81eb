-- repair: sets an account's counters, one reservation or one buyer's counts to the ledger's values.
-- Guarantees: the event comes first, and the ledger folds nothing from it. An account gets the
-- deltas of one comparison once, on top of later changes, and only where its identity holds
-- afterwards. A reservation changes only while its last number is the number compared, a buyer only
-- while the whole field is the field compared. A repeated repair changes nothing.
-- KEYS    1-6 the partition (include/partition.lua)  7 optional: the ledger that counts
-- ARGV    1 run_id  2 epoch  3 MessagePack, one of
--         {"account", repair_id, actor, account, sequence compared at, {delta of each counter}}
--         {"reservation", repair_id, actor, token, epoch and sequence of its last event (0, 0
--          without a usable record), the reservation (include/record.lua) or false}
--         {"buyer", repair_id, actor, buyer id, SHA-1 of the field, {key, number, ...}}
--         4 with key 7: the ledger that says so (include/counting_ledger.lua)
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {outcome, sequence}}; outcomes repaired,
--         already, moved, ledger_behind; or {"ledger_fenced", the ledger that counts}
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include counting_ledger
-- @include stock
-- @include reservation
-- @include rebuilt
-- @include repair_event

-- The last repair of each account: flat {account, epoch, sequence, repair_id, ...}. Deltas compared
-- before that repair still contain the drift it corrected, so they are refused.
local function last_repair(partition, index)
  local packed = redis.call('HGET', partition.keys[1], 'repairs')
  local repairs = packed and cmsgpack.unpack(packed) or {}
  for i = 1, #repairs, 4 do
    if repairs[i] == index then return repairs, i end
  end
  return repairs, #repairs + 1
end

local function are_deltas(deltas)
  if type(deltas) ~= 'table' or #deltas ~= #STOCK_FIELDS then return false end
  local some = false
  for _, delta in ipairs(deltas) do
    if not is_integer(delta, -LARGEST_COUNTER, LARGEST_COUNTER) then return false end
    some = some or delta ~= 0
  end
  return some
end

-- The item's total anew from its accounts: whoever changed an account by hand may have left the
-- total alone.
local function recount(partition, number)
  if #partition.items[number][7] == 1 then return end
  local total = 0
  for place = 1, #partition.items[number][7] do
    total = total + available_at(partition, number, place)
  end
  partition.totals[number], partition.changed_totals[number] = total, true
end

local function repair_account(partition, request)
  local repair_id, index, compared, deltas = request[2], request[4], request[5], request[6]
  if not is_integer(index, 1, partition.account_count) or not are_deltas(deltas)
     or not is_integer(compared, 0, partition.meta.sequence) then
    return 'malformed'
  end
  local repairs, place = last_repair(partition, index)
  if repairs[place + 1] == partition.meta.epoch and repairs[place + 2] > compared then
    return repairs[place + 3] == repair_id and 'already' or 'moved'
  end
  local counters, changes = stock_of(partition, index), {}
  for i, name in ipairs(STOCK_FIELDS) do
    if deltas[i] ~= 0 then
      note_change(changes, name, counters[name], counters[name] + deltas[i])
      change(partition, index, name, deltas[i])
    end
  end
  if counters.loaded + counters.adjusted + counters.transferred
     ~= counters.available + counters.held + counters.sold then
    return 'moved'
  end
  recount(partition, item_of(partition, index))
  return nil, {sku = partition.accounts[index][1], location = partition.accounts[index][2],
    changes = changes}, function()
    repairs[place], repairs[place + 1] = index, partition.meta.epoch
    repairs[place + 2], repairs[place + 3] = partition.meta.sequence, repair_id
    redis.call('HSET', partition.keys[1], 'repairs', cmsgpack.pack(repairs))
  end
end

-- A buyer's array lists a hold exactly while it is held.
local function list_hold(partition, buyer_id, token, held)
  if not is_text(buyer_id, 128) then return end
  local buyer = buyer_of(partition, buyer_id)
  forget_hold(buyer, token)
  if held then buyer[#buyer + 1] = token end
  partition.changed_buyers[buyer_id] = true
end

local function repair_reservation(partition, request)
  local token, epoch, sequence, wanted = request[4], request[5], request[6], request[7]
  if not is_token(token) or not is_integer(epoch, 0, LARGEST) or not is_integer(sequence, 0, LATEST)
     or (wanted ~= false and not is_record(wanted, partition.accounts)) then
    return 'malformed'
  end
  local packed = redis.call('HGET', partition.keys[3], token)
  local record = packed and unpacked(packed)
  local indexed = tonumber(redis.call('ZSCORE', partition.keys[5], token) or nil)
  local deadline = wanted and wanted[STATE] == HELD and wanted[DEADLINE] or nil
  local changes = record_changes(record, wanted)
  note_change(changes, 'deadline_index', indexed, deadline)
  local is_none = packed and (not record or #record == 0)
  note_change(changes, 'record', is_none and 'unreadable' or nil, nil)
  if #changes == 0 then return 'already' end
  -- A record that no script can use has no number to compare.
  local unusable = epoch == 0 and sequence == 0 and not is_record(record, partition.accounts)
  if not unusable and (not record or record[EPOCH] ~= epoch or record[SEQUENCE] ~= sequence) then
    return 'moved'
  end
  if record then list_hold(partition, record[BUYER], token, false) end
  if wanted then
    list_hold(partition, wanted[BUYER], token, deadline ~= nil)
    partition.record_fields = {token, cmsgpack.pack(wanted)}
  end
  partition.deadlines[token] = deadline or false
  return nil, {token = token, buyer_id = (wanted or record or {})[BUYER], changes = changes},
    function()
      if not wanted then redis.call('HDEL', partition.keys[3], token) end
    end
end

local function are_numbers(numbers, items)
  if type(numbers) ~= 'table' or #numbers % 2 ~= 0 then return false end
  for i = 1, #numbers, 2 do
    local key = numbers[i]
    local most = (key == ADMISSION or key == UNPAID_WINDOW) and LATEST or LARGEST
    if not is_integer(key, UNPAID_WINDOW, items) or key == COOLS_UNTIL
       or not is_integer(numbers[i + 1], 1, most) then
      return false
    end
  end
  return true
end

-- The items that one of the arrays counts, in the catalogue's order.
local function items_of(partition, ...)
  local found, seen = {}, {}
  for _, buyer in ipairs({...}) do
    for i = 1, first_hold(buyer) - 1, 2 do
      local item = buyer[i]
      if partition.items[item] and not seen[item] then
        seen[item], found[#found + 1] = true, item
      end
    end
  end
  table.sort(found)
  return found
end

local function repair_buyer(partition, request)
  local buyer_id, compared, numbers = request[4], request[5], request[6]
  if not is_text(buyer_id, 128) or type(compared) ~= 'string' or #compared ~= 40
     or not are_numbers(numbers, partition.item_count) then
    return 'malformed'
  end
  local packed = redis.call('HGET', partition.keys[4], buyer_id) or ''
  local buyer, wanted = unpacked(packed) or {}, {unpack(numbers)}
  local cools_until = count_of(buyer, COOLS_UNTIL) -- kept: the ledger does not store it
  if cools_until ~= 0 then set_number(wanted, COOLS_UNTIL, cools_until) end
  for i = first_hold(buyer), #buyer do
    if is_token(buyer[i]) then wanted[#wanted + 1] = buyer[i] end
  end
  local changes = {}
  for _, item in ipairs(items_of(partition, buyer, wanted)) do
    local sku = partition.items[item][1]
    note_change(changes, sku, count_of(buyer, item), count_of(wanted, item))
  end
  note_change(changes, 'admission', count_of(buyer, ADMISSION), count_of(wanted, ADMISSION))
  note_change(changes, 'given_back', count_of(buyer, GIVEN_BACK), count_of(wanted, GIVEN_BACK))
  note_change(changes, 'unpaid', count_of(buyer, UNPAID), count_of(wanted, UNPAID))
  note_change(changes, 'unpaid_window', count_of(buyer, UNPAID_WINDOW),
    count_of(wanted, UNPAID_WINDOW))
  if packed == (#wanted > 0 and cmsgpack.pack(wanted) or '') then return 'already' end
  if redis.sha1hex(packed) ~= compared then return 'moved' end
  partition.buyers[buyer_id], partition.changed_buyers[buyer_id] = wanted, true
  return nil, {buyer_id = buyer_id, changes = changes}, function() end
end

local REPAIRS = {
  account = repair_account, reservation = repair_reservation, buyer = repair_buyer,
}

local keys, fenced = keys_by_word(KEYS, ARGV[4])
if fenced then return fenced end
local partition, refusal = open_partition(keys, ARGV[1], ARGV[2])
if not partition then return refusal end
local request = unpacked(ARGV[3] or '')
local repair = request and REPAIRS[request[1]]
if not repair or type(request[2]) ~= 'string' or not request[2]:find('^%d+:%d+$')
   or #request[2] > 40 or not is_text(request[3], 128) then
  return malformed('request')
end
local outcome, repaired, finish = repair(partition, request)
if outcome == 'malformed' then return malformed(request[1]) end
if not outcome and is_behind(partition) then outcome = 'ledger_behind' end
if outcome then return reply(partition, {outcome, partition.meta.sequence}) end

append_event(partition, 'repair', repair_json(partition, request, repaired))
flush(partition)
finish()
return reply(partition, {'repaired', partition.meta.sequence})
