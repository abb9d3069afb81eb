-- The stock of a partition, with one account for each item and location. In every account:
--   loaded + adjusted + transferred = available + held + sold, always.
local STOCK_FIELDS =
  {'loaded', 'adjusted', 'transferred', 'in_transit', 'available', 'held', 'sold'}
local READ_AHEAD = 16 -- locations whose `available` is read in one go while a line is placed

-- The account's counters with this call's changes. A missing counter raises an error: it is lost
-- data, never a zero.
local function stock_of(partition, index)
  local account = partition.stock[index]
  if not account then
    local prefix = partition.accounts[index][1] .. ':' .. partition.accounts[index][2] .. ':'
    local fields = {}
    for i, name in ipairs(STOCK_FIELDS) do fields[i] = prefix .. name end
    local values = redis.call('HMGET', partition.keys[2], unpack(fields))
    account = {was = {}, now = {}}
    for i, name in ipairs(STOCK_FIELDS) do
      local value = assert(tonumber(values[i]), 'counter missing: ' .. fields[i])
      account.was[name], account.now[name] = value, value
    end
    partition.stock[index] = account
  end
  return account.now
end

-- `available` at one of the item's locations. Counters that this call changes are in
-- `partition.stock`, so what was read ahead stays true.
local function available_at(partition, number, place)
  local item = partition.items[number]
  local index = item[FIRST] + place - 1
  if #item[LOCATIONS] == 1 or partition.stock[index] then
    return stock_of(partition, account_at(partition, number, place)).available
  end
  local seen = partition.seen
  if not seen[index] then
    local fields = {}
    for at = place, math.min(place + READ_AHEAD - 1, #item[LOCATIONS]) do
      fields[#fields + 1] = item[1] .. ':' .. item[LOCATIONS][at] .. ':available'
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
  local locations = #partition.items[number][LOCATIONS]
  if locations == 1 then return available_at(partition, number, 1) end
  local total = partition.totals[number]
  if not total then -- a partition of an earlier release
    total = 0
    for place = 1, locations do total = total + available_at(partition, number, place) end
    partition.totals[number] = total
  end
  return total
end

local function set_total(partition, number, total)
  partition.totals[number], partition.changed_totals[number] = total, true
end

-- Every change of `available` goes through here, or through `recount`.
local function change_available(partition, index, quantity)
  local number = partition.accounts[index][3]
  local counters = stock_of(partition, index)
  if #partition.items[number][LOCATIONS] > 1 then
    set_total(partition, number, available_of(partition, number) + quantity)
  end
  counters.available = counters.available + quantity
end

-- The item's total anew from its accounts.
local function recount(partition, number)
  local locations, total = #partition.items[number][LOCATIONS], 0
  if locations == 1 then return end
  for place = 1, locations do total = total + available_at(partition, number, place) end
  set_total(partition, number, total)
end

local function change(partition, index, name, quantity)
  if name == 'available' then return change_available(partition, index, quantity) end
  local counters = stock_of(partition, index)
  counters[name] = counters[name] + quantity
end

local function move(partition, index, quantity, from, to)
  change(partition, index, from, -quantity)
  change(partition, index, to, quantity)
end

local function account_floor(partition, number)
  local item = partition.items[number]
  if #item[LOCATIONS] == 1 then return item[4] end
  return math.min(0, item[4])
end
