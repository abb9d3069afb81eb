-- snapshot: reads the counters of one partition together with their (epoch, sequence), in one step.
-- Guarantees: writes nothing; needs no fence, since the caller compares the reply. The reply
-- decides whether a partition is lost, so the script checks all of it: every key's type, every
-- counter.
-- KEYS    1-6 the partition (include/partition.lua)
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {sequence, state, run_id, ledger_sequence,
--         outbox length, due holds, reservations, {{sku, location, loaded, adjusted, transferred,
--         in_transit, available, held, sold}, ...}, {paused sku, ...}}} or {"recovering", what}
-- @include record
-- @include partition
-- @include stock

local KINDS = {'hash', 'hash', 'hash', 'hash', 'zset', 'stream'}

-- Few calls for many accounts: the counters of 140 accounts are 980 values.
local ACCOUNTS_EACH = 140

local function read_stock(partition, names)
  local counters = {}
  for from = 1, #names, ACCOUNTS_EACH do
    local fields = {}
    for i = from, math.min(from + ACCOUNTS_EACH - 1, #names) do
      local prefix = names[i][1] .. ':' .. names[i][2] .. ':'
      for _, name in ipairs(STOCK_FIELDS) do fields[#fields + 1] = prefix .. name end
    end
    local values = redis.call('HMGET', partition.keys[2], unpack(fields))
    for i, value in ipairs(values) do
      local index = from + math.floor((i - 1) / #STOCK_FIELDS)
      local account = counters[index] or {names[index][1], names[index][2]}
      account[#account + 1] = assert(tonumber(value or nil), 'counter missing: ' .. fields[i])
      counters[index] = account
    end
  end
  return counters
end

local function read_all_items(partition)
  if partition.whole_catalog then return end
  local numbers = {}
  for number = 1, partition.item_count do numbers[number] = number end
  read_items(partition, numbers)
end

local function counters_of(partition)
  read_all_items(partition)
  local names = {}
  for _, item in ipairs(partition.items) do
    for place, location in ipairs(item[7]) do
      names[item[6] + place - 1] = {item[1], location}
    end
  end
  return read_stock(partition, names)
end

local ok, partition, missing = pcall(read_partition, KEYS)
if not ok or not partition then
  return cmsgpack.pack({'recovering', ok and missing or 'a key has another type'})
end
for i, kind in ipairs(KINDS) do
  if redis.call('TYPE', KEYS[i]).ok ~= kind then
    return cmsgpack.pack({'recovering', 'a ' .. kind})
  end
end
local whole, accounts = pcall(counters_of, partition)
if not whole then return cmsgpack.pack({'recovering', 'a counter'}) end
local meta, paused = partition.meta, {}
for _, item in ipairs(partition.items) do
  if item[5] then paused[#paused + 1] = item[1] end
end
local due = redis.call('ZCOUNT', KEYS[5], '-inf', string.format('%.0f', partition.now))
return reply(partition, {
  meta.sequence, meta.state, meta.run_id, meta.ledger_sequence, redis.call('XLEN', KEYS[6]), due,
  redis.call('HLEN', KEYS[3]) - 1, accounts, paused,
})
