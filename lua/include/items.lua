-- The catalogue of a partition as meta stores it. A call reads the entries that it uses:
--   catalog      {number of items, number of accounts, split, rules (include/catalog.lua)}
--   item:N       {sku, unit_price, limit, floor, paused, first account, {location, ...}}
--   account:N    the number of the account's item; an item's accounts are numbered one after the
--                other, in order of preference
--   available:N  units available at all locations together, of an item with several
-- A partition loaded by an earlier release has all of it in `catalog` ({items, accounts, split,
-- rules}, an item with its account numbers in place 6), and keeps it there: scripts of that release
-- may still be at work on it.
--
-- Every call defines every function of its script anew, which is a part of its cost: few functions.

-- Reads the items with these numbers that are not there yet, and the totals of those with several
-- locations, in few calls. A missing entry raises an error: lost data.
local function read_items(partition, numbers)
  for _, kind in ipairs({'item:', 'available:'}) do
    local into = kind == 'item:' and partition.items or partition.totals
    local missing, fields = {}, {}
    for _, number in ipairs(numbers) do
      if not rawget(into, number) and (kind == 'item:' or #partition.items[number][7] > 1) then
        missing[#missing + 1], fields[#fields + 1] = number, kind .. number
      end
    end
    for from = 1, #fields, 1000 do
      local last = math.min(from + 999, #fields)
      local values = redis.call('HMGET', partition.keys[1], unpack(fields, from, last))
      for i, value in ipairs(values) do
        if not value then error('entry missing: ' .. fields[from + i - 1]) end
        into[missing[from + i - 1]] =
          kind == 'item:' and cmsgpack.unpack(value) or tonumber(value)
      end
    end
  end
end

-- The number of the account at one of the item's locations, counted in order of preference.
local function account_at(partition, number, place)
  local item = partition.items[number]
  local index = item[6] + place - 1
  if not rawget(partition.accounts, index) then
    partition.accounts[index] = {item[1], item[7][place], number}
  end
  return index
end

-- `partition.items` and `partition.accounts` read an entry when it is first asked for; they are nil
-- for what is no number of an entry.
local function open_catalog(partition, packed)
  local catalog = cmsgpack.unpack(packed)
  partition.items, partition.accounts = {}, {}
  partition.totals, partition.changed_totals = {}, {}
  partition.item_count, partition.account_count = catalog[1], catalog[2]
  partition.split, partition.rules = catalog[3], catalog[4]
  if type(catalog[1]) == 'table' then -- of an earlier release
    partition.whole_catalog, partition.accounts = catalog, catalog[2]
    partition.item_count, partition.account_count = #catalog[1], #catalog[2]
    for number, item in ipairs(catalog[1]) do
      local locations = {}
      for place, index in ipairs(item[6]) do locations[place] = catalog[2][index][2] end
      partition.items[number] =
        {item[1], item[2], item[3], item[4], item[5], item[6][1], locations}
    end
    return
  end
  local lazily = {__index = function(known, number)
    local is_item = known == partition.items
    local count = is_item and catalog[1] or catalog[2]
    if type(number) ~= 'number' or number % 1 ~= 0 or number < 1 or number > count then
      return nil
    end
    if is_item then
      read_items(partition, {number})
    else
      local item = tonumber(redis.call('HGET', partition.keys[1], 'account:' .. number) or nil)
      assert(item, 'entry missing: account:' .. number)
      account_at(partition, item, number - partition.items[item][6] + 1)
    end
    return rawget(known, number)
  end}
  setmetatable(partition.items, lazily)
  setmetatable(partition.accounts, lazily)
end

-- The fields of meta that this call has changed, with their values.
local function changed_entries(partition)
  local changed, whole, fields = partition.changed_item, partition.whole_catalog, {}
  if changed and whole then
    whole[1][changed][5] = partition.items[changed][5]
    return {'catalog', cmsgpack.pack(whole)}
  elseif changed then
    return {'item:' .. changed, cmsgpack.pack(partition.items[changed])}
  end
  for number in pairs(whole and {} or partition.changed_totals) do
    fields[#fields + 1] = 'available:' .. number
    fields[#fields + 1] = string.format('%d', partition.totals[number])
  end
  return fields
end
