-- Placement: the units a reserve takes. Lines of one SKU are summed, and each line gets a location.

-- Returns triples {item, account or 0, quantity, ...} with each (item, account) once. Lines with a
-- named account come first, so that lines without an account do not take those units.
local function summed(lines)
  if #lines == 3 then return lines end
  local named, free = {}, {}
  for i = 1, #lines, 3 do
    local list = lines[i + 1] == 0 and free or named
    local at = #list + 1
    for k = 1, #list, 3 do
      if list[k] == lines[i] and list[k + 1] == lines[i + 1] then at = k end
    end
    list[at], list[at + 1] = lines[i], lines[i + 1]
    list[at + 2] = (list[at + 2] or 0) + lines[i + 2]
  end
  for _, value in ipairs(free) do named[#named + 1] = value end
  return named
end

local function units_of(lines, item)
  local sum = 0
  for i = 1, #lines, 3 do
    if lines[i] == item then sum = sum + lines[i + 2] end
  end
  return sum
end

local function taken_at(placed, account)
  for i = 1, #placed, 2 do
    if placed[i] == account then return placed[i + 1] end
  end
  return 0
end

local function take(placed, account, quantity)
  for i = 1, #placed, 2 do
    if placed[i] == account then
      placed[i + 1] = placed[i + 1] + quantity
      return
    end
  end
  placed[#placed + 1] = account
  placed[#placed + 1] = quantity
end

local function room_at(partition, item, account, placed)
  return stock_of(partition, account).available - taken_at(placed, account)
    - account_floor(partition, item)
end

-- Places a line at the first location, in the sale's order of preference, that has the whole
-- quantity; where the sale allows a split, over several locations in that order. Adds to `placed`;
-- returns false where the line does not fit.
local function place_line(partition, item, named, quantity, placed)
  local accounts = named == 0 and partition.items[item][6] or {named}
  for _, account in ipairs(accounts) do
    if room_at(partition, item, account, placed) >= quantity then
      take(placed, account, quantity)
      return true
    end
  end
  if not partition.split then return false end
  for _, account in ipairs(accounts) do
    local part = math.min(quantity, room_at(partition, item, account, placed))
    if part > 0 then
      take(placed, account, part)
      quantity = quantity - part
    end
  end
  return quantity == 0
end

-- Returns the flat list {account, quantity, ...}, or nil and the item that is short.
local function place(partition, lines)
  for i = 1, #lines, 3 do
    local item = lines[i]
    local left = available_of(partition, item) - units_of(lines, item)
    if left < partition.items[item][4] then return nil, item end
  end
  local placed = {}
  for i = 1, #lines, 3 do
    if not place_line(partition, lines[i], lines[i + 1], lines[i + 2], placed) then
      return nil, lines[i]
    end
  end
  return placed
end
