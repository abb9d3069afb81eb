-- The stock of a partition, with one account for each item and location. In every account:
--   loaded + adjusted + transferred = available + held + sold, always.
local STOCK_FIELDS =
  {'loaded', 'adjusted', 'transferred', 'in_transit', 'available', 'held', 'sold'}
local HOLD_FIELDS = {'available', 'held'} -- what a hold changes

-- The counters of these names, of one account after the other, read in few calls. A missing counter
-- raises an error: it is lost data, never a zero.
local function read_counters(partition, indexes, names)
  local fields, values = {}, {}
  for _, index in ipairs(indexes) do
    local account = partition.accounts[index]
    local prefix = account[1] .. ':' .. account[2] .. ':'
    for _, name in ipairs(names) do fields[#fields + 1] = prefix .. name end
  end
  for from = 1, #fields, 1000 do
    local last = math.min(from + 999, #fields)
    local found = redis.call('HMGET', partition.keys[2], unpack(fields, from, last))
    for i = from, last do
      values[i] = tonumber(found[i - from + 1] or nil) or error('counter missing: ' .. fields[i])
    end
  end
  return values
end

-- The account's counters with this call's changes.
local function stock_of(partition, index)
  local counters = partition.stock[index]
  if not counters then
    local loaded, adjusted, transferred, in_transit, available, held, sold =
      unpack(read_counters(partition, {index}, STOCK_FIELDS))
    counters = { -- a constructor: a table that grows name by name costs twice as much
      loaded = loaded, adjusted = adjusted, transferred = transferred, in_transit = in_transit,
      available = available, held = held, sold = sold,
    }
    partition.stock[index] = counters
  end
  return counters
end

-- `available` at one of the item's locations. 16 locations are read in one go; counters that this
-- call changes are in `partition.stock`, so what was read ahead stays true.
local function available_at(partition, number, place)
  local item = partition.items[number]
  local index = item[6] + place - 1
  if partition.stock[index] then return partition.stock[index].available end
  if #item[7] == 1 then return stock_of(partition, account_at(partition, number, 1)).available end
  local seen = partition.seen
  if not seen[index] then
    local fields = {}
    for at = place, math.min(place + 15, #item[7]) do
      fields[#fields + 1] = item[1] .. ':' .. item[7][at] .. ':available'
    end
    local values = redis.call('HMGET', partition.keys[2], unpack(fields))
    for i, value in ipairs(values) do
      seen[index + i - 1] = tonumber(value or nil) or error('counter missing: ' .. fields[i])
    end
  end
  return seen[index]
end

-- An item's floor holds for the sum over its locations; a single location may go below zero only
-- down to a negative floor. The sum of several locations is stored (include/items.lua), so that
-- sold out is known from one number.
local function available_of(partition, number)
  local locations = #partition.items[number][7]
  if locations == 1 then return available_at(partition, number, 1) end
  local total = partition.totals[number]
  if not total then -- a partition of an earlier release
    total = 0
    for place = 1, locations do total = total + available_at(partition, number, place) end
    partition.totals[number] = total
  end
  return total
end

-- Every change of a counter goes through here, so that it is written, and the item's total with it.
local function change(partition, index, name, quantity)
  if name == 'available' then
    local number = partition.accounts[index][3]
    if #partition.items[number][7] > 1 then
      partition.totals[number] = available_of(partition, number) + quantity
      partition.changed_totals[number] = true
    end
  end
  local counters = partition.stock[index] or stock_of(partition, index)
  local changed = partition.changed_stock[index] or {}
  counters[name], changed[name] = counters[name] + quantity, true
  partition.changed_stock[index] = changed
end

local function move(partition, index, quantity, from, to)
  change(partition, index, from, -quantity)
  change(partition, index, to, quantity)
end

local function account_floor(partition, number)
  local item = partition.items[number]
  if #item[7] == 1 then return item[4] end
  return math.min(0, item[4])
end
