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
    account = {was = {}, now = {}}
    for i, name in ipairs(STOCK_FIELDS) do
      local value = assert(tonumber(values[i]), 'counter missing: ' .. fields[i])
      account.was[name], account.now[name] = value, value
    end
    partition.stock[index] = account
  end
  return account.now
end

local function move(partition, index, quantity, from, to)
  local counters = stock_of(partition, index)
  counters[from] = counters[from] - quantity
  counters[to] = counters[to] + quantity
end

-- An item is {sku, unit_price, limit, floor, paused, accounts {index, ...}}. The floor holds for
-- the sum over the item's locations; a single location may go below zero only down to a negative
-- floor.
local function available_of(partition, item)
  local sum = 0
  for _, index in ipairs(partition.items[item][6]) do
    sum = sum + stock_of(partition, index).available
  end
  return sum
end

local function account_floor(partition, item)
  local floor = partition.items[item][4]
  if #partition.items[item][6] == 1 then return floor end
  return math.min(0, floor)
end
