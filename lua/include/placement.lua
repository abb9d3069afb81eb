-- Which units a reserve would take: lines of one SKU summed, a location chosen for each line.

-- Sums triples {item, account or 0, quantity}: {item = units}, and the lines again, each
-- (item, account) once, those with a named account first so that they are not crowded out.
local function summed(lines)
  local by_item, by_line, named, free = {}, {}, {}, {}
  for i = 1, #lines, 3 do
    local item, account, quantity = lines[i], lines[i + 1], lines[i + 2]
    by_item[item] = (by_item[item] or 0) + quantity
    local key = item .. ':' .. account
    if by_line[key] then
      by_line[key].quantity = by_line[key].quantity + quantity
    else
      local line = {item = item, account = account, quantity = quantity}
      by_line[key] = line
      local list = account == 0 and free or named
      list[#list + 1] = line
    end
  end
  for _, line in ipairs(free) do named[#named + 1] = line end
  return by_item, named
end

local function room_at(partition, item, account, taken)
  return stock_of(partition, account).available - (taken[account] or 0)
    - account_floor(partition, item)
end

-- The first location, in the sale's order of preference, that has the whole line; where the sale
-- allows it the line is split over them in that order. Adds to `taken`; false when it does not fit.
local function place_line(partition, line, taken)
  local accounts = partition.items[line.item][6]
  if line.account ~= 0 then accounts = {line.account} end
  for _, account in ipairs(accounts) do
    if room_at(partition, line.item, account, taken) >= line.quantity then
      taken[account] = (taken[account] or 0) + line.quantity
      return true
    end
  end
  if not partition.split or line.account ~= 0 then return false end
  local missing = line.quantity
  for _, account in ipairs(accounts) do
    local part = math.min(missing, room_at(partition, line.item, account, taken))
    if part > 0 then
      taken[account] = (taken[account] or 0) + part
      missing = missing - part
    end
  end
  return missing == 0
end

-- Flat {account, quantity, ...} in the order of the accounts, or nil and the item that is short.
local function place(partition, by_item, lines)
  for item, quantity in pairs(by_item) do
    if available_of(partition, item) - quantity < partition.items[item][4] then return nil, item end
  end
  local taken = {}
  for _, line in ipairs(lines) do
    if not place_line(partition, line, taken) then return nil, line.item end
  end
  local placed = {}
  for account in pairs(taken) do placed[#placed + 1] = account end
  table.sort(placed)
  local flat = {}
  for _, account in ipairs(placed) do
    flat[#flat + 1] = account
    flat[#flat + 1] = taken[account]
  end
  return flat
end
