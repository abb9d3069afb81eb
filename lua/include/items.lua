-- The catalogue of a partition as meta stores it. A call reads the entries that it uses:
--   catalog      {number of items, number of accounts, split, rules (include/catalog.lua)}
--   item:N       {sku, unit_price, limit, floor, paused, first account, {location, ...}}
--   account:N    the number of the account's item; an item's accounts are numbered one after the
--                other, in order of preference
--   available:N  units available at all locations together, of an item with several
-- A partition loaded by an earlier release has all of it in `catalog` ({items, accounts, split,
-- rules}, an item with its account numbers in place 6), and keeps it there: scripts of that release
-- may still be at work on it.
local FIRST, LOCATIONS = 6, 7

-- Entries that are read when they are first asked for; nil for what is no number of an entry.
local function entries_of(count, read)
  return setmetatable({}, {__index = function(known, number)
    if type(number) ~= 'number' or number % 1 ~= 0 or number < 1 or number > count then
      return nil
    end
    known[number] = read(number)
    return rawget(known, number)
  end})
end

-- Reads the items with these numbers, in few calls. A missing entry raises an error: lost data.
local function read_items(partition, numbers)
  for from = 1, #numbers, 500 do
    local fields = {}
    for i = from, math.min(from + 499, #numbers) do
      local number = string.format('%d', numbers[i])
      fields[#fields + 1], fields[#fields + 2] = 'item:' .. number, 'available:' .. number
    end
    local values = redis.call('HMGET', partition.keys[1], unpack(fields))
    for i = 1, #values, 2 do
      local item = cmsgpack.unpack(assert(values[i], 'entry missing: ' .. fields[i]))
      local number = numbers[from + (i - 1) / 2]
      partition.items[number] = item
      if #item[LOCATIONS] > 1 then
        partition.totals[number] = assert(tonumber(values[i + 1] or nil),
          'entry missing: ' .. fields[i + 1])
      end
    end
  end
end

-- The number of the account at one of the item's locations, counted in order of preference.
local function account_at(partition, number, place)
  local item = partition.items[number]
  local index = item[FIRST] + place - 1
  if not rawget(partition.accounts, index) then
    partition.accounts[index] = {item[1], item[LOCATIONS][place], number}
  end
  return index
end

local function read_account(partition, index)
  local field = string.format('account:%d', index)
  local number = tonumber(redis.call('HGET', partition.keys[1], field) or nil)
  local item = assert(number and partition.items[number], 'entry missing: ' .. field)
  return {item[1], item[LOCATIONS][index - item[FIRST] + 1], number}
end

local function open_whole_catalog(partition, catalog)
  partition.items, partition.accounts, partition.whole_catalog = {}, catalog[2], catalog
  for number, item in ipairs(catalog[1]) do
    local locations = {}
    for place, index in ipairs(item[6]) do locations[place] = catalog[2][index][2] end
    partition.items[number] =
      {item[1], item[2], item[3], item[4], item[5], item[6][1], locations}
  end
  partition.item_count, partition.account_count = #catalog[1], #catalog[2]
end

local function open_catalog(partition, packed)
  local catalog = cmsgpack.unpack(packed)
  partition.totals, partition.changed_totals = {}, {}
  partition.split, partition.rules = catalog[3], catalog[4]
  if type(catalog[1]) == 'table' then return open_whole_catalog(partition, catalog) end
  partition.item_count, partition.account_count = catalog[1], catalog[2]
  partition.items = entries_of(catalog[1], function(number)
    read_items(partition, {number})
    return rawget(partition.items, number)
  end)
  partition.accounts = entries_of(catalog[2], function(index)
    return read_account(partition, index)
  end)
end

-- The fields of meta that this call has changed.
local function changed_entries(partition)
  local fields = {}
  for number in pairs(partition.whole_catalog and {} or partition.changed_totals) do
    fields[#fields + 1] = string.format('available:%d', number)
    fields[#fields + 1] = string.format('%d', partition.totals[number])
  end
  local changed = partition.changed_item
  if changed and partition.whole_catalog then
    partition.whole_catalog[1][changed][5] = partition.items[changed][5]
    fields[#fields + 1], fields[#fields + 2] = 'catalog', cmsgpack.pack(partition.whole_catalog)
  elseif changed then
    fields[#fields + 1] = string.format('item:%d', changed)
    fields[#fields + 1] = cmsgpack.pack(partition.items[changed])
  end
  return fields
end
