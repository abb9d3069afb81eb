-- The stock of a partition, with one account for each item and location. In every account:
--   loaded + adjusted + transferred = available + held + sold, always.
local STOCK_FIELDS =
  {'loaded', 'adjusted', 'transferred', 'in_transit', 'available', 'held', 'sold'}

-- The account's counters with this call's changes. A missing counter raises an error: it is lost
-- data, never a zero.
local function stock_of(partition, index)
  local account = partition.stock[index]
  if not account then
    local prefix = partition.accounts[index][1] .. ':' .. partition.accounts[index][2] .. ':'
    local fields = {}
    for i, name in ipairs(STOCK_FIELDS) do fields[i] = prefix .. name end
    local values = redis.call('HMGET', partition.keys[2], unpack(fields))
    for i = 1, #fields do
      values[i] = assert(tonumber(values[i] or nil), 'counter missing: ' .. fields[i])
    end
    local loaded, adjusted, transferred, in_transit, available, held, sold = unpack(values)
    account = { -- constructors: a table that grows name by name costs twice as much
      was = {
        loaded = loaded, adjusted = adjusted, transferred = transferred,
        in_transit = in_transit, available = available, held = held, sold = sold,
      },
      now = {
        loaded = loaded, adjusted = adjusted, transferred = transferred,
        in_transit = in_transit, available = available, held = held, sold = sold,
      },
    }
    partition.stock[index] = account
  end
  return account.now
end

-- `available` at one of the item's locations. 16 locations are read in one go; counters that this
-- call changes are in `partition.stock`, so what was read ahead stays true.
local function available_at(partition, number, place)
  local item = partition.items[number]
  local index = item[6] + place - 1
  if #item[7] == 1 or partition.stock[index] then
    return stock_of(partition, account_at(partition, number, place)).available
  end
  local seen = partition.seen
  if not seen[index] then
    local fields = {}
    for at = place, math.min(place + 15, #item[7]) do
      fields[#fields + 1] = item[1] .. ':' .. item[7][at] .. ':available'
    end
    local values = redis.call('HMGET', partition.keys[2], unpack(fields))
    for i, value in ipairs(values) do
      seen[index + i - 1] = assert(tonumber(value or nil), 'counter missing: ' .. fields[i])
    end
  end
  return seen[index]
end

-- An item's floor holds for the sum over its locations; a single location may go below zero only
-- down to a negative floor. The sum of several locations is stored (include/items.lua), so that
-- sold out is known from one number.
local function available_of(partition, number)
  local item = partition.items[number]
  local locations = #item[7]
  if locations == 1 then
    local account = partition.stock[item[6]]
    return account and account.now.available or available_at(partition, number, 1)
  end
  local total = partition.totals[number]
  if not total then -- a partition of an earlier release
    total = 0
    for place = 1, locations do total = total + available_at(partition, number, place) end
    partition.totals[number] = total
  end
  return total
end

-- Every change of `available` goes through here, so that the item's total changes with it.
local function change_available(partition, index, quantity)
  local number = partition.accounts[index][3]
  local counters = stock_of(partition, index)
  if #partition.items[number][7] > 1 then
    partition.totals[number] = available_of(partition, number) + quantity
    partition.changed_totals[number] = true
  end
  counters.available = counters.available + quantity
end

local function move(partition, index, quantity, from, to)
  local counters = stock_of(partition, index)
  if from == 'available' then
    change_available(partition, index, -quantity)
  else
    counters[from] = counters[from] - quantity
  end
  if to == 'available' then
    change_available(partition, index, quantity)
  else
    counters[to] = counters[to] + quantity
  end
end

local function account_floor(partition, number)
  local item = partition.items[number]
  if #item[7] == 1 then return item[4] end
  return math.min(0, item[4])
end
